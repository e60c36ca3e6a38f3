"""Whose rows the statistics are made of: all devices', some devices', one device's."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from inox import functional
from inox.nn import BatchNorm, export_state
from tests import oracle
from tests.distributed.ways import (
    CHANNELS,
    DEVICES,
    FOUR_BY_TWO,
    ROWS,
    WAYS,
    Way,
    mask_of,
    mesh_of,
    place,
)
from tests.functional.closeness import assert_all_close, assert_close
from tests.functional.programs import quick_jit

NAMES = ("hosts", "local")
MESH = Way("shard_map", FOUR_BY_TWO)


def rows(seed: int = 0) -> np.ndarray:
    """A batch whose devices have means that differ."""
    rng = np.random.default_rng(seed)
    offset = np.repeat(rng.normal(0, 5, DEVICES), ROWS)[:, None]
    return (rng.normal(1, 2, (DEVICES * ROWS, CHANNELS)) + offset).astype(np.float32)


@pytest.mark.parametrize("pooled", [(), ("hosts",), ("local",)], ids=["none", "hosts", "local"])
def test_statistics_are_of_the_named_axes_alone(pooled):
    """Of a device's own rows without `axis_name`; with one of two names, of that axis' devices.

    Output and gradient follow: nothing crosses from one group of devices to another.
    """
    x, dy = rows(0), rows(1)
    split = P(NAMES)

    @quick_jit
    @jax.shard_map(mesh=mesh_of(MESH), in_specs=(split, split), out_specs=(split,) * 4)
    def run(x, dy):
        def norm(x):
            return functional.batch_norm(x, epsilon=0.125, axis_name=pooled or None)

        y, pullback, moments = jax.vjp(norm, x, has_aux=True)
        # What is pooled is the same on the devices pooled over, and JAX knows it.
        mean, var = (jax.lax.pcast(m, pooled, to="varying")[None] for m in moments[1:])
        return y, mean, var, pullback(dy)[0]

    y, mean, var, dx = run(x, dy)
    # Groups of devices by position on the mesh: (host, local, row, channel).
    axes = tuple(NAMES.index(name) for name in pooled)
    shape = (4, 2, ROWS, CHANNELS)
    reference = oracle.Normalization(oracle.slices(shape, (*axes, 2)))
    arrays = {"x": x.reshape(shape).astype(np.float64), "epsilon": np.float64(0.125)}
    cotangents = {"y": dy.reshape(shape).astype(np.float64)}
    exact = reference.evaluate(arrays)
    assert_close(y.reshape(shape), exact["y"])
    for found, name in ((mean, "mean"), (var, "var")):
        each = np.expand_dims(exact[name], axes)
        each = np.broadcast_to(each, (4, 2, CHANNELS))
        assert_close(found.reshape(4, 2, CHANNELS), each, name, size=np.maximum(each, 15))
    exact, sizes = reference.pullback(arrays, cotangents), reference.sizes(arrays, cotangents)
    assert_all_close({"x": dx.reshape(shape)}, exact, sizes=sizes)


def test_an_unbound_name_is_told_the_bound_ones():
    """Before anything is computed: the name, the names that are bound, and what to do."""

    def norm(x):
        return functional.batch_norm(x, axis_name=("hosts", "devices"))[0]

    mapped = jax.shard_map(norm, mesh=mesh_of(MESH), in_specs=P(NAMES), out_specs=P(NAMES))
    with pytest.raises(ValueError, match="axis_name 'devices' is not bound") as error:
        jax.jit(mapped)(rows())
    assert "bound here: 'hosts', 'local'" in str(error.value)
    # `jit` binds no name, whatever the mesh of its arrays: the message says that too.
    with pytest.raises(ValueError, match="bound here: none"):
        jax.jit(norm)(place(Way("jit", FOUR_BY_TWO), rows()))


@pytest.mark.parametrize("way", [way for way in WAYS if way.transformation != "vmap"], ids=str)
def test_running_statistics_are_replicated_bit_for_bit(way):
    """After steps with other masks each, every device holds the same bits, and the right ones.

    A batch with one row in all has no variance, and moves nothing.
    """
    names = way.mesh[1]
    shares = (8, 5, 0, 1, 8, 0, 3, 2), (0,) * 7 + (1,), (0,) * 6 + (1, 1), (8,) * 8
    masks = [mask_of(counts) for counts in shares]
    batches = [rows(seed) for seed in range(len(masks))]
    axis_name = None if way.transformation == "jit" else names
    layer, state = export_state(BatchNorm(CHANNELS, axis_name=axis_name))

    def step(state, x, where):
        return layer(x, state, where=where)[1]

    if way.transformation == "shard_map":
        step = jax.shard_map(
            step, mesh=mesh_of(way), in_specs=(P(), P(names), P(names)), out_specs=P()
        )
    step = quick_jit(step)
    mean, var = np.zeros(CHANNELS), np.ones(CHANNELS)
    for x, where in zip(batches, masks, strict=True):
        state = step(state, place(way, x), place(way, where))
        chosen = x[where[:, 0]].astype(np.float64)
        if len(chosen) > 1:
            mean, var = 0.9 * mean + 0.1 * chosen.mean(0), 0.9 * var + 0.1 * chosen.var(0)
    for found, exact in zip(state[layer.stats], (mean, var), strict=True):
        copies = [np.asarray(shard.data) for shard in found.addressable_shards]
        assert len(copies) == DEVICES
        assert len({copy.tobytes() for copy in copies}) == 1
        assert_close(copies[0], exact, size=np.array(15.0**2))
