"""Layers with state on meshes: shardings that are part of types, and ensembles over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from inox import calibration
from inox.nn import BatchNorm, BatchRenorm, export_state

SHAPE, CHANNELS = (8, 4, 8), 8
LAYERS = {
    "batch": lambda **k: BatchNorm(CHANNELS, **k),
    "batch_momenta": lambda **k: BatchNorm(
        CHANNELS, momentum=jnp.linspace(0, 1, 8), warmup=True, skip_nonfinite=True, **k
    ),
    "batch_renorm": lambda **k: BatchRenorm(CHANNELS, momentum=0.5, steps=1, **k),
}
each = pytest.mark.parametrize("name", LAYERS)
MESHES = {
    "channels": ((4,), ("m",), P(None, None, "m")),
    "rows": ((4,), ("d",), P("d")),
    "rows and channels": ((2, 2), ("d", "m"), P("d", None, "m")),
    "rows by two axes": ((2, 2), ("d", "m"), P(("d", "m"))),
    "channels by two axes": ((2, 2), ("d", "m"), P(None, None, ("d", "m"))),
}


def data(seed):
    return (1 + 2 * np.random.default_rng(seed).standard_normal(SHAPE)).astype(np.float32)


def build(name):
    return export_state(LAYERS[name](scale=jnp.full(CHANNELS, 2.0), bias=jnp.ones(CHANNELS)))


def assert_same(found, expected):
    """Sums over devices are added up in another order: a few units of the last place."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def explicit(shape, names):
    """A mesh as `jax.make_mesh` makes it by default, of four of the eight devices."""
    return jax.make_mesh(shape, names, devices=jax.devices()[: np.prod(shape)])


def spec_of(array):
    """The sharding in the type of an array, every dimension told."""
    return jax.typeof(array).sharding.spec


@each
@pytest.mark.parametrize("mesh", MESHES)
def test_explicit_axes(name, mesh):
    """Training and evaluation as on one device; a replicated state comes back as x's channels.

    One that is split as the channels stays so: it is the carry of a scan.
    """
    shape, names, spec = MESHES[mesh]
    channels = P(spec[2] if len(spec) == 3 else None)
    layer, state = build(name)
    batches = [data(seed) for seed in range(3)]
    plain, expected = state, []
    for x in batches:
        y, plain = layer(x, plain)
        expected.append(y)
    evaluated, _ = layer(batches[0], plain, training=False)
    with jax.set_mesh(explicit(shape, names)):
        arrays = [jax.device_put(jnp.asarray(x), spec) for x in batches]
        replicated = jax.device_put(state, P())
        assert_same(layer(arrays[0], replicated)[0], expected[0])
        y, state = jax.jit(layer)(arrays[0], replicated)
        assert {spec_of(leaf) for leaf in jax.tree.leaves(state)} == {channels}
        state, rest = jax.lax.scan(lambda s, x: layer(x, s)[::-1], state, jnp.stack(arrays[1:]))
        assert {spec_of(leaf) for leaf in jax.tree.leaves(state)} == {channels}
        assert_same((y, *rest), expected)
        assert_same(state, plain)
        found = layer(arrays[0], state, training=False)
        assert_same(found, (evaluated, state))


@each
def test_explicit_axes_without_a_mesh_in_context(name):
    """An array that was put on the mesh by hand is enough, as for the arithmetic of JAX."""
    shape, names, spec = MESHES["channels"]
    layer, state = build(name)
    expected = layer(data(0), state)
    x = jax.device_put(jnp.asarray(data(0)), NamedSharding(explicit(shape, names), spec))
    for found in (layer(x, state), jax.jit(layer)(x, state)):
        assert_same(found, expected)
        assert {spec_of(leaf) for leaf in jax.tree.leaves(found[1])} == {P("m")}


@pytest.mark.parametrize("name", ["batch_momenta", "batch_renorm"])
@pytest.mark.parametrize("mesh", ["channels", "rows and channels"])
def test_gradients_on_explicit_axes(name, mesh):
    """Those of one device, split as what they are the gradients of."""
    shape, names, spec = MESHES[mesh]
    layer, state = build(name)
    _, state = layer(data(1), state)

    def loss(layer, x):
        return jnp.sum(layer(x, state)[0] ** 3)

    slopes = jax.jit(jax.grad(loss, (0, 1)))
    expected = slopes(layer, data(0))
    with jax.set_mesh(explicit(shape, names)):
        x = jax.device_put(jnp.asarray(data(0)), spec)
        found = slopes(layer, x)
        assert spec_of(found[1]) == spec_of(x)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("mesh", MESHES)
def test_pooled_on_explicit_axes(mesh):
    """What `accumulate` pools is split as x's channels, too, and is that of one device."""
    shape, names, spec = MESHES[mesh]
    layer, state = build("batch")

    def microbatches(state, arrays):
        pooling, pooled = calibration.accumulate(layer, state)
        for x in arrays:
            y, pooled = pooling(x, pooled)
        return y, calibration.commit(layer, state, pooled)

    batches = [data(seed) for seed in range(3)]
    expected = microbatches(state, batches)
    with jax.set_mesh(explicit(shape, names)):
        arrays = [jax.device_put(jnp.asarray(x), spec) for x in batches]
        for run in (microbatches, jax.jit(microbatches)):
            assert_same(run(jax.device_put(state, P()), arrays), expected)


@each
@pytest.mark.parametrize("masked", [False, True], ids=["all rows", "masked"])
def test_a_vmap_around_a_shard_map_of_its_own_axis(name, masked):
    """An ensemble over devices, rows split inside of each member: as its members one by one."""
    layer, state = export_state(LAYERS[name](axis_name="rows"))
    alone, _ = export_state(LAYERS[name]())
    mesh = jax.make_mesh((2, 4), ("members", "rows"), axis_types=(AxisType.Auto,) * 2)
    split = jax.shard_map(
        lambda x, where, state: layer(x, state, where=where if masked else None),
        mesh=mesh,
        in_specs=(P("rows"), P("rows"), P()),
        out_specs=(P("rows"), P()),
    )
    members = jax.jit(jax.vmap(split, (0, 0, None), spmd_axis_name="members"))
    x = np.stack([data(0), data(1) + 3])
    where = np.random.default_rng(0).random((2, *SHAPE[:-1], 1)) < 0.7
    y, after = members(x, where, state)
    for member in range(2):
        mask = where[member] if masked else None
        expected, moved = alone(x[member], state, where=mask)
        assert_same(y[member], expected)
        for found, other in zip(*map(jax.tree.leaves, (after, moved)), strict=True):
            assert_same(found[member], other)
