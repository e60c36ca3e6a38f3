"""BatchNorm for Equinox where it is hard: large means, half types, several axes, one sample."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from inox.interop import equinox as ours
from tests.interop.equinox_batches import (
    CLOSE,
    MODES,
    batched,
    batches,
    build,
    copied,
    moments64,
    normalized64,
    statistics,
)


def test_small_variances_are_found_beside_the_start():
    """What the rounding of a stored number near 1 leaves of a variance of 1e-4: 3e-6, at most.

    Half a unit of the last place a step, 2^-25, adds up to 2^-25 / (1 - 0.99) at any number of
    steps; the weights of old and new, rounded to float32, add as much once.
    """
    layer, state = build(ours, "batch")
    x = (0.01 * np.random.default_rng(0).standard_normal((64, 3))).astype(np.float32)
    for step in range(300):
        _, state = batched(layer, x, state)
        if step in (0, 1, 3, 10, 30, 100, 299):
            y, _ = batched(layer, x, copied(state), inference=True)
            spread = np.asarray(y, np.float64).var(0)
            var = moments64(x)[1] / spread - 1e-5
            np.testing.assert_allclose(var, moments64(x)[1], rtol=1e-5, atol=6e-6)


@pytest.mark.parametrize("mode", MODES)
def test_large_means_are_exact(mode, rng):
    """A mean of 3000 times the spread: outputs and gradients are those of float64.

    In mode "ema" the second batch is by running statistics, and the gradient through them.
    """
    layer, state = build(ours, mode)
    first, x = (3000 + rng.standard_normal((2, 8, 3, 5))).astype(np.float32)
    target = rng.standard_normal(x.shape).astype(np.float32)
    _, state = batched(layer, first, state)

    def loss(x):
        y, _ = batched(layer, x, copied(state))
        return jnp.sum(y * target), y

    gradient, y = jax.grad(loss, has_aux=True)(x)
    moments = moments64(x)
    if mode == "ema":
        moments = [
            0.99 * old + 0.01 * new for old, new in zip(moments64(first), moments, strict=True)
        ]
    # What is stored of the mean is a float32, off by up to half a unit of 3000's last place.
    atol = 2e-4 if mode == "ema" else 3e-6
    np.testing.assert_allclose(y, normalized64(x, *moments), rtol=1e-6, atol=atol)

    share = 0.01 if mode == "ema" else 1.0  # of the batch in the statistics
    over = (0, 2)
    wide, dy = x.astype(np.float64), target.astype(np.float64)
    rstd = 1 / np.sqrt(moments[1] + 1e-5).reshape(-1, 1)
    own = wide - moments64(x)[0].reshape(-1, 1)
    deviation = wide - moments[0].reshape(-1, 1)
    along = (dy * deviation).mean(over, keepdims=True)
    expected = rstd * (dy - share * dy.mean(over, keepdims=True) - share * rstd**2 * own * along)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_input_keeps_its_type_and_exact_statistics(mode, dtype, rng):
    """Half input gives half output, rounded once, and statistics as exact as of float32.

    The framework's own promotes the output to float32, of statistics in the half type.
    """
    layer, state = build(ours, mode)
    x = jnp.asarray(5 + rng.standard_normal((64, 3, 9)), dtype)
    y, state = batched(layer, x, state)
    assert y.dtype == dtype
    mean, var = moments64(x)
    expected = normalized64(np.asarray(x, np.float64), mean, var)
    unit = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=0.51 * unit, atol=1e-5)
    stored_mean, stored_var, _ = statistics(layer, state)
    share = 1 if mode == "ema" else 0.01
    # 1 - 0.99 in float32 is off by 1e-6 of itself.
    np.testing.assert_allclose(stored_mean, share * mean, rtol=2e-6)
    np.testing.assert_allclose(stored_var, share * var + (1 - share), rtol=1e-6)
    evaluated, _ = batched(layer, x, state, inference=True)
    assert evaluated.dtype == dtype


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_statistics_of_a_half_type_stay_of_it(mode, dtype, rng):
    """With `dtype` a half type the state is of it, for input of any type."""
    layer, state = build(ours, mode, dtype=dtype)
    x = rng.standard_normal((64, 3)).astype(np.float32)
    y, moved = batched(layer, x, copied(state))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, normalized64(x, *moments64(x)), **CLOSE)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(moved), strict=True):
        assert one.dtype == other.dtype


@pytest.mark.parametrize("mode", MODES)
def test_integers_become_the_default_float(mode, rng):
    """Integers are normalized as numbers."""
    layer, state = build(ours, mode)
    x = rng.integers(-5, 6, (16, 3))
    y, _ = batched(layer, x, state)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, normalized64(x, *moments64(x)), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_one_element_teaches_nothing(mode, rng):
    """One element has no variance: the state stays as it was, and so does its counter."""
    layer, state = build(ours, mode)
    one = rng.standard_normal((1, 3)).astype(np.float32)
    y, kept = batched(layer, one, copied(state))
    np.testing.assert_array_equal(y, np.zeros((1, 3)))
    assert eqx.tree_equal(kept, state)
    x = next(batches(rng, (16, 3)))
    _, seen = batched(layer, x, state)
    y, kept = batched(layer, one, copied(seen))
    assert eqx.tree_equal(kept, seen)
    if mode == "ema":  # by the running statistics, as they are there
        np.testing.assert_allclose(y, normalized64(one, *moments64(x)), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_several_names_are_pooled(mode, rng):
    """`axis_name` may list several mapped axes: the batch is all of them."""
    x = rng.standard_normal((2, 4, 3, 5)).astype(np.float32)
    expected = normalized64(x.reshape(8, 3, 5), *moments64(x.reshape(8, 3, 5)))
    for names in (("i", "j"), ["j", "i"]):
        layer, state = eqx.nn.make_with_state(ours.BatchNorm)(3, names, mode=mode)
        axes = {"in_axes": (0, None), "out_axes": (0, None)}
        call = jax.vmap(jax.vmap(layer, axis_name="j", **axes), axis_name="i", **axes)
        y, state = call(x, state)
        np.testing.assert_allclose(y.reshape(expected.shape), expected, **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_devices_are_pooled(mode, rng):
    """Under `shard_map` with a `vmap` inside, one batch is what all devices hold."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    layer, state = eqx.nn.make_with_state(ours.BatchNorm)(3, ("data", "batch"), mode=mode)
    arrays, static = eqx.partition(layer, eqx.is_array)
    x = next(batches(rng, (8, 3, 5)))

    def part(arrays, x, state):
        layer = eqx.combine(arrays, static)
        axes = {"in_axes": (0, None), "out_axes": (0, None)}
        return jax.vmap(layer, axis_name="batch", **axes)(x, state)

    split, whole = PartitionSpec("data"), PartitionSpec()
    run = jax.jit(
        jax.shard_map(
            part,
            mesh=mesh,
            in_specs=(whole, split, whole),
            out_specs=(split, whole),
            check_vma=False,
        )
    )
    y, moved = run(arrays, x, copied(state))
    np.testing.assert_allclose(y, normalized64(x, *moments64(x)), **CLOSE)
    one, _ = eqx.nn.make_with_state(ours.BatchNorm)(3, "batch", mode=mode)
    _, expected = batched(one, x, state)
    for found, there in zip(jax.tree.leaves(moved), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, there, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_complex_input_has_complex_statistics(mode, rng):
    """With `dtype=complex64` complex samples are normalized: by the mean absolute square."""
    layer, state = build(ours, mode, dtype=jnp.complex64, momentum=0.9)
    parts = rng.standard_normal((2, 2, 16, 3))
    first, x = (parts[0] + 1j * parts[1]).astype(np.complex64)
    _, state = batched(layer, first, state)
    y, state = batched(layer, x, state)
    moments = [(a.mean(0), (np.abs(a - a.mean(0)) ** 2).mean(0)) for a in (first, x)]
    mean, var = moments[1]
    if mode == "ema":
        mean, var = (0.9 * old + 0.1 * new for old, new in zip(*moments, strict=True))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-5, atol=1e-5)
    assert all(leaf.dtype in (jnp.complex64, jnp.int32, bool) for leaf in jax.tree.leaves(state))
    evaluated, _ = batched(layer, x, state, inference=True)
    assert evaluated.dtype == jnp.complex64
    if mode == "batch":
        mean, var = (np.average(pair, 0, [0.09, 0.1]) for pair in zip(*moments, strict=True))
    np.testing.assert_allclose(evaluated, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 5])
def test_the_state_of_a_model_with_other_channels(channels, mode, inference):
    """The indices of two models are alike, their channels not: named before any work is done."""
    layer, _ = eqx.nn.make_with_state(ours.BatchNorm)(3, "batch", mode=mode)
    _, state = eqx.nn.make_with_state(ours.BatchNorm)(channels, "batch", mode=mode)
    layer = eqx.nn.inference_mode(layer, inference)
    with pytest.raises(ValueError, match="it is that of another model"):
        batched(layer, jnp.ones((4, 3)), state)
