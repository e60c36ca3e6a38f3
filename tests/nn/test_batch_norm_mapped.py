"""Batch norm over mapped axes: `vmap` and `shard_map` give the statistics of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from layer_cases import BIAS, SCALE, assert_close, bias, example, scale, standardize64

from inox.nn import BatchNorm, export_state

PARTS = 4
WHOLE = example(0, (PARTS, 3, 5, 4))
WEIGHT = example(1, (PARTS, 3, 5, 4))


def vmapped(function):
    return jax.jit(jax.vmap(function, axis_name="parts", out_axes=(0, None)))


def sharded(function):
    """The function on each of four devices' share, with one state out for all of them."""
    mesh = jax.make_mesh(
        (PARTS,),
        ("parts",),
        devices=jax.devices()[:PARTS],
        axis_types=(jax.sharding.AxisType.Auto,),
    )
    split, joint = PartitionSpec("parts"), PartitionSpec()

    def on_share(*operands):
        y, state = function(*(operand[0] for operand in operands))
        return y[None], state

    return jax.jit(
        lambda *operands: jax.shard_map(
            on_share, mesh=mesh, in_specs=(split,) * len(operands), out_specs=(split, joint)
        )(*operands)
    )


MAPPINGS = {"vmap": vmapped, "shard_map": sharded}


@pytest.fixture(params=MAPPINGS)
def mapping(request):
    return MAPPINGS[request.param]


def build(**keywords):
    return export_state(
        BatchNorm(4, momentum=0.5, scale=scale(), bias=bias(), axis_name="parts", **keywords)
    )


def test_mapped_parts_give_the_whole_batch(mapping):
    """Output and state of the parts are those of one call on the whole batch."""
    layer, state = build()
    y, after = mapping(lambda x: layer(x, state))(WHOLE)
    assert_close(y, standardize64(WHOLE, (0, 1, 2), 1e-5) * SCALE + BIAS)
    pooled = WHOLE.astype(np.float64)
    assert_close(after[layer.stats].mean, 0.5 * pooled.mean((0, 1, 2)))
    assert_close(after[layer.stats].var, 0.5 + 0.5 * pooled.var((0, 1, 2)))


def test_unequal_counts_are_weighted(mapping):
    """Parts with 15, 1, 4 and 0 valid positions count by their positions."""
    layer, state = build()
    mask = np.zeros((PARTS, 3, 5, 1), bool)
    mask[0], mask[1, 0, 0], mask[2, 1, :4] = True, True, True
    x = np.where(mask, WHOLE, np.nan).astype(np.float32)
    y, after = mapping(lambda x, mask: layer(x, state, where=mask))(x, mask)
    chosen = WHOLE[mask[..., 0]].astype(np.float64)
    expected = np.zeros(WHOLE.shape)
    expected[mask[..., 0]] = standardize64(chosen, 0, 1e-5) * SCALE + BIAS
    assert_close(y, expected)
    np.testing.assert_array_equal(np.asarray(y)[~mask[..., 0]], 0)
    assert_close(after[layer.stats].mean, 0.5 * chosen.mean(0))
    assert_close(after[layer.stats].var, 0.5 + 0.5 * chosen.var(0))


def test_all_parts_masked_leave_the_state(mapping):
    """Where no part has a valid position the state keeps its bits and the output is 0."""
    layer, state = build(warmup=True)
    y, after = mapping(lambda x, mask: layer(x, state, where=mask))(
        np.full_like(WHOLE, np.nan), np.zeros((PARTS, 3, 5, 1), bool)
    )
    np.testing.assert_array_equal(y, np.zeros(WHOLE.shape))
    np.testing.assert_array_equal(after[layer.stats].mean, np.zeros(4))
    np.testing.assert_array_equal(after[layer.stats].var, np.ones(4))


def test_gradients_of_the_parts_are_those_of_the_whole(mapping):
    """The gradient by each part's x goes through the statistics of all parts."""
    layer, state = build()
    plain, plain_state = export_state(BatchNorm(4, scale=scale(), bias=bias()))

    def mapped(x):
        y, _ = mapping(lambda x: layer(x, state))(x)
        return jnp.sum(y * WEIGHT)

    expected = jax.jit(jax.grad(lambda x: jnp.sum(plain(x, plain_state)[0] * WEIGHT)))(WHOLE)
    assert_close(jax.jit(jax.grad(mapped))(WHOLE), expected, 32)


def test_evaluation_uses_the_state_in_every_part(mapping):
    """Evaluation mode needs no exchange: each part is normalized with the running statistics."""
    layer, state = build()
    _, state = mapping(lambda x: layer(x, state))(WHOLE)
    layer.train(False)
    y, after = mapping(lambda x: layer(x, state))(WHOLE * 2)
    mean, var = (np.asarray(part, np.float64) for part in state[layer.stats])
    assert_close(y, (2 * WHOLE.astype(np.float64) - mean) / np.sqrt(var + 1e-5) * SCALE + BIAS)
    np.testing.assert_array_equal(after[layer.stats].mean, state[layer.stats].mean)


def test_several_axis_names_are_pooled_together():
    """A tuple of names pools over those mapped axes; another mapped axis stays apart."""
    layer, state = export_state(BatchNorm(4, axis_name=("outer", "inner")))
    x = example(2, (2, 3, 2, 5, 4))

    def nest(function):
        return jax.vmap(
            jax.vmap(jax.vmap(function, axis_name="inner"), axis_name="apart"), axis_name="outer"
        )

    y, after = jax.jit(nest(lambda x: layer(x, state)))(x)
    for apart in range(3):
        part = x[:, apart]
        assert_close(y[:, apart], standardize64(part, (0, 1, 2), 1e-5))
        expected = 0.1 * part.astype(np.float64).mean((0, 1, 2))
        for outer in range(2):
            for inner in range(2):
                assert_close(after[layer.stats].mean[outer, apart, inner], expected)


def test_without_axis_name_parts_stay_apart():
    """No axis name, no pooling: under vmap each part is a batch of its own."""
    layer, state = export_state(BatchNorm(4))
    y, after = jax.jit(jax.vmap(lambda x: layer(x, state), axis_name="parts"))(WHOLE)
    for index, part in enumerate(WHOLE):
        assert_close(y[index], standardize64(part, (0, 1), 1e-5))
        assert_close(after[layer.stats].mean[index], 0.1 * part.astype(np.float64).mean((0, 1)))
