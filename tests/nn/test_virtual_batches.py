"""Batch norm of virtual batches: groups of samples by themselves, running statistics of all.

The expectation is float64 NumPy on each group's elements, and on all elements for the state.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from layer_cases import BIAS, SCALE, assert_close, bias, example, scale, standardize64

from inox.calibration import accumulate, commit
from inox.nn import BatchNorm, export_state

SAMPLES, GROUP = 6, 2
X = example(0, (SAMPLES, 3, 4)) + 5 * np.arange(SAMPLES, dtype=np.float32)[:, None, None]
WEIGHT = example(1, X.shape)
# Groups with 6, 2 and 0 of their elements.
MASK = np.zeros((SAMPLES, 3, 1), bool)
MASK[:2], MASK[3, :2] = True, True


def build(**keywords):
    arguments = {"virtual_batch": GROUP, "scale": scale(), "bias": bias()} | keywords
    return export_state(BatchNorm(4, momentum=0.5, **arguments))


def groups_of(x):
    return x.reshape(-1, GROUP, *x.shape[1:])


def check_running(stats, chosen):
    """Momentum 0.5 from mean 0 and variance 1, by elements of shape (n, C)."""
    chosen = np.asarray(chosen, np.float64).reshape(-1, 4)
    assert_close(stats.mean, 0.5 * chosen.mean(0))
    assert_close(stats.var, 0.5 + 0.5 * chosen.var(0))


def test_groups_are_normalized_apart_and_remembered_together():
    """Each pair of samples has mean 0 and variance 1; the state has the moments of all six."""
    layer, state = build()
    y, after = jax.jit(layer)(X, state)
    expected = standardize64(groups_of(X), (1, 2), 1e-5).reshape(X.shape) * SCALE + BIAS
    assert_close(y, expected)
    check_running(after[layer.stats], X)
    layer.train(False)
    mean, var = (np.asarray(part, np.float64) for part in after[layer.stats])
    y, _ = layer(X[:5], after)  # in evaluation there are no groups
    assert_close(y, (X[:5] - mean) / np.sqrt(var + 1e-5) * SCALE + BIAS)


def test_a_mask_leaves_groups_unequal_counts():
    """Groups weigh by their elements in the state; one with none gives 0, and NaN there stays."""
    layer, state = build()
    x = np.where(MASK, X, np.nan).astype(np.float32)
    y, after = jax.jit(lambda x: layer(x, state, where=MASK))(x)
    expected = np.zeros(X.shape)
    for group in range(3):
        part = slice(GROUP * group, GROUP * (group + 1))
        inside = MASK[part][..., 0]
        if inside.any():
            expected[part][inside] = standardize64(X[part][inside], 0, 1e-5) * SCALE + BIAS
    assert_close(y, expected)
    check_running(after[layer.stats], X[MASK[..., 0]])


def test_gradients_are_those_of_the_groups():
    """x, scale and bias: the gradients of three batches of two samples, one after the other."""
    layer, state = build()
    plain, plain_state = build(virtual_batch=None)

    def weighted(layer, x):
        return jnp.sum(layer(x, state)[0] * WEIGHT)

    def apart(layer, x):
        ys = [layer(part, plain_state)[0] for part in groups_of(x)]
        return jnp.sum(jnp.concatenate(ys) * WEIGHT)

    gradients = jax.jit(jax.grad(weighted, (0, 1)))(layer, X)
    expected = jax.jit(jax.grad(apart, (0, 1)))(plain, jnp.asarray(X))
    for found, exact in zip(*map(jax.tree.leaves, (gradients, expected)), strict=True):
        assert_close(found, exact, 32)


def test_over_devices_groups_are_local_and_the_state_is_that_of_all():
    """`axis_name` pools what is remembered; what normalizes are groups of samples of a device."""
    layer, state = build(axis_name="parts")
    mesh = jax.make_mesh((3,), ("parts",), axis_types=(AxisType.Auto,))
    split = PartitionSpec("parts")
    run = jax.jit(
        jax.shard_map(
            lambda x, mask: layer(x, state, where=mask),
            mesh=mesh,
            in_specs=(split, split),
            out_specs=(split, PartitionSpec()),
        )
    )
    y, after = run(X, MASK)
    check_running(after[layer.stats], X[MASK[..., 0]])
    alone, state_alone = build()
    assert_close(y, np.asarray(alone(X, state_alone, where=MASK)[0]))


@pytest.mark.parametrize("devices", [3, 2])
def test_on_a_mesh_with_explicit_axes(devices):
    """Groups that lie on a device, and groups that two devices hold parts of: the same numbers."""
    layer, state = build()
    mesh = jax.make_mesh((devices,), ("rows",), axis_types=(AxisType.Explicit,))

    def both(x):
        def cubed(x):
            y, after = layer(x, state)
            return jnp.sum(y**3), (y, after)

        return jax.grad(cubed, has_aux=True)(x)

    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, PartitionSpec("rows")))
        gradient, (y, after) = jax.jit(both)(x)
    expected, (alone, _) = jax.jit(both)(X)
    assert_close(y, alone)
    check_running(after[layer.stats], X)
    assert_close(gradient, expected, 64)


def test_an_empty_batch_leaves_the_state_as_it_was():
    """No samples are no groups: y is empty, and a state that pools has no more than before."""
    layer, state = build()
    empty = jnp.zeros((0, 3, 4))
    y, after = layer(empty, state)
    assert y.shape == empty.shape
    for found, before in zip(after[layer.stats], state[layer.stats], strict=True):
        np.testing.assert_array_equal(found, before)
    pooling, pooled = accumulate(layer, state)
    for part in (X[:2], empty, X[2:]):
        _, pooled = pooling(part, pooled)
    check_running(commit(layer, state, pooled)[layer.stats], X)


def test_microbatches_are_pooled_whole():
    """Between accumulate and commit all elements of all microbatches count, whatever the groups."""
    layer, state = build()
    pooling, pooled = accumulate(layer, state)
    for part in (X[:4], X[4:]):
        _, pooled = pooling(part, pooled)
    check_running(commit(layer, state, pooled)[layer.stats], X)
