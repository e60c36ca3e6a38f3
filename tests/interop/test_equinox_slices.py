"""LayerNorm, RMSNorm and GroupNorm for Equinox: numbers, gradients, hazards, errors."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from inox.interop import equinox as ours
from inox.kernels.backends import BACKENDS

# The slices of a sample: layer and arguments, shape of a sample, in how many rows it splits.
CASES = {
    "layer": (lambda source, **k: source.LayerNorm(24, **k), (24,), 1),
    "layer, three axes": (lambda source, **k: source.LayerNorm((4, 3, 2), **k), (4, 3, 2), 1),
    "rms": (lambda source, **k: source.RMSNorm(24, **k), (24,), 1),
    "rms, two axes": (lambda source, **k: source.RMSNorm((4, 6), **k), (4, 6), 1),
    "group": (lambda source, **k: source.GroupNorm(2, 8, **k), (8, 3, 5), 2),
    "group, no space": (lambda source, **k: source.GroupNorm(2, 8, **k), (8,), 2),
    "instance": (lambda source, **k: source.GroupNorm(4, 4, **k), (4, 9), 4),
}
# Rounding of y (half a unit), of the statistics and of scale and bias, in units of float32.
CLOSE = {"rtol": 1e-6, "atol": 3e-6}


def with_parameters(layer, rng):
    """The layer with weight and bias drawn at random, and both in float64."""
    drawn = [rng.uniform(0.5, 2, layer.weight.shape), rng.standard_normal(layer.bias.shape)]
    arrays = [np.asarray(a, np.float32) for a in drawn]
    replaced = eqx.tree_at(
        lambda layer: (layer.weight, layer.bias), layer, [jnp.asarray(a) for a in arrays]
    )
    return replaced, *(a.astype(np.float64) for a in arrays)


def normalized64(x, rows, centred, eps):
    """Each row of each sample by its own statistics, in float64 NumPy."""
    split = np.asarray(x, np.float64).reshape(len(x), rows, -1)
    if centred:
        split = split - split.mean(-1, keepdims=True)
    return (split / np.sqrt((split**2).mean(-1, keepdims=True) + eps)).reshape(np.shape(x))


def affine64(y, weight, bias):
    """Weight and bias along the first axes of a sample."""
    ones = (1,) * (y.ndim - 1 - weight.ndim)
    return y * weight.reshape(weight.shape + ones) + bias.reshape(bias.shape + ones)


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_the_formula(case, rng):
    """Samples under `vmap` are what float64 NumPy makes of the formula, eager and compiled."""
    build, shape, rows = CASES[case]
    layer, weight, bias = with_parameters(build(ours, eps=1e-3), rng)
    x = (2 + 3 * rng.standard_normal((5, *shape))).astype(np.float32)
    expected = affine64(normalized64(x, rows, "rms" not in case, 1e-3), weight, bias)
    for call in (jax.vmap(layer), eqx.filter_jit(jax.vmap(layer))):
        np.testing.assert_allclose(call(x), expected, **CLOSE)
    np.testing.assert_allclose(layer(x[0]), expected[0], **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_the_frameworks(case, rng, standard_promotion):
    """For ordinary numbers the framework's own layer gives the same y and the same gradients."""
    build, shape, _ = CASES[case]
    mine, *_ = with_parameters(build(ours), rng)
    theirs = eqx.tree_at(
        lambda layer: (layer.weight, layer.bias), build(eqx.nn), (mine.weight, mine.bias)
    )
    x = rng.standard_normal((5, *shape)).astype(np.float32)
    target = rng.standard_normal((5, *shape)).astype(np.float32)

    @eqx.filter_jit
    def run(layer, x):
        def loss(both):
            layer, x = both
            y = jax.vmap(layer)(x)
            return jnp.sum(y * target), y

        (_, y), gradient = eqx.filter_value_and_grad(loss, has_aux=True)((layer, x))
        return y, gradient[0].weight, gradient[0].bias, gradient[1]

    # Small groups divide by a variance that is itself rounded, and amplify both roundings.
    for one, other in zip(run(mine, x), run(theirs, x), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_types_are_rounded_once(case, dtype, rng):
    """Half input gives output of its dtype, half a unit of it away from the formula in float64."""
    build, shape, rows = CASES[case]
    layer, weight, bias = with_parameters(build(ours), rng)
    x = jnp.asarray(rng.standard_normal((5, *shape)), dtype)
    y = jax.vmap(layer)(x)
    assert y.dtype == dtype
    expected = affine64(normalized64(x, rows, "rms" not in case, 1e-5), weight, bias)
    unit = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=0.51 * unit, atol=4e-6)


@pytest.mark.parametrize("case", CASES)
def test_weights_of_a_half_type_are_taken(case, rng):
    """With `dtype=bfloat16` weight and bias are of it, x and y of their own."""
    build, shape, rows = CASES[case]
    layer = build(ours, dtype=jnp.bfloat16)
    assert layer.weight.dtype == layer.bias.dtype == jnp.bfloat16
    x = rng.standard_normal((3, *shape)).astype(np.float32)
    y = jax.vmap(layer)(x)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, normalized64(x, rows, "rms" not in case, 1e-5), **CLOSE)


@pytest.mark.parametrize("case", [name for name in CASES if "rms" not in name])
def test_large_means_are_exact(case, rng):
    """A mean of 3000 times the spread costs nothing but the rounding of x itself."""
    build, shape, rows = CASES[case]
    x = (3000 + rng.standard_normal((5, *shape))).astype(np.float32)
    y = jax.vmap(build(ours))(x)
    np.testing.assert_allclose(y, normalized64(x, rows, True, 1e-5), **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_integers_become_the_default_float(case, rng):
    """Integers are normalized as numbers; the framework's own rounds y to integers again."""
    build, shape, rows = CASES[case]
    x = rng.integers(-5, 6, (3, *shape))
    y = jax.vmap(build(ours))(x)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, normalized64(x, rows, "rms" not in case, 1e-5), **CLOSE)
    theirs = jax.vmap(build(eqx.nn))(jnp.asarray(x, jnp.int32))
    assert theirs.dtype == jnp.int32


@pytest.mark.parametrize("case", CASES)
def test_complex_numbers_have_their_absolute_square(case, rng):
    """Complex input is divided by the root of its mean absolute square, as the variance is one."""
    build, shape, rows = CASES[case]
    parts = rng.standard_normal((2, 3, *shape))
    x = (parts[0] + 1j * parts[1]).astype(np.complex64)
    y = jax.vmap(build(ours))(x)
    assert y.dtype == jnp.complex64
    wide = x.astype(np.complex128).reshape(3, rows, -1)
    if "rms" not in case:
        wide = wide - wide.mean(-1, keepdims=True)
    square = (np.abs(wide) ** 2).mean(-1, keepdims=True)
    np.testing.assert_allclose(y, (wide / np.sqrt(square + 1e-5)).reshape(x.shape), **CLOSE)


def test_group_norm_is_torchs(rng):
    """Channels first, as PyTorch's `GroupNorm` has them: the same numbers."""
    layer, weight, bias = with_parameters(ours.GroupNorm(3, 6), rng)
    x = rng.standard_normal((4, 6, 5, 2)).astype(np.float32)
    theirs = torch.nn.functional.group_norm(
        torch.tensor(x, dtype=torch.float64), 3, torch.tensor(weight), torch.tensor(bias), 1e-5
    )
    np.testing.assert_allclose(jax.vmap(layer)(x), theirs.numpy(), **CLOSE)


def test_group_norm_without_parameters_takes_any_channels(rng):
    """With `channelwise_affine=False` and no channels, whatever the groups divide is taken."""
    layer = ours.GroupNorm(2, channelwise_affine=False)
    for channels in (2, 6):
        x = rng.standard_normal((1, channels, 3)).astype(np.float32)
        np.testing.assert_allclose(layer(x[0]), normalized64(x, 2, True, 1e-5)[0], **CLOSE)


def test_a_state_is_handed_back():
    """With a state the result is a pair, whatever the state is; None is one, too."""
    x = jnp.ones(4)
    for layer in (ours.LayerNorm(4), ours.RMSNorm(4), ours.GroupNorm(2, 4)):
        for state in (None, "anything", {}):
            y, kept = layer(x, state, key=jax.random.key(0))
            assert kept is state
            np.testing.assert_array_equal(y, layer(x))


def test_a_scalar_is_a_slice():
    """An empty shape is one number, which is its own mean: y is the bias, and for RMS its sign."""
    layer = ours.LayerNorm(())
    layer = eqx.tree_at(lambda layer: layer.bias, layer, jnp.asarray(0.5))
    np.testing.assert_array_equal(layer(jnp.asarray(7.0)), 0.5)
    np.testing.assert_allclose(ours.RMSNorm((), eps=0.0)(jnp.asarray(-7.0)), -1.0, rtol=1e-6)


def test_numpy_integers_name_sizes():
    """Sizes may be NumPy's integers, as those that come of a shape or a configuration."""
    assert ours.LayerNorm(np.int64(3)).shape == (3,)
    assert ours.RMSNorm(np.array([3, 2])).shape == (3, 2)
    assert ours.GroupNorm(np.int32(2), np.int32(4)).channels == 4


@pytest.mark.parametrize("case", CASES)
def test_kernels_run_under_vmap(case, rng):
    """Where there are kernels, a batch of samples is one call forward, and one backward."""
    build, shape, _ = CASES[case]
    layer = build(ours)
    x = rng.standard_normal((5, *shape)).astype(np.float32)

    def loss(layer, x):
        return jnp.sum(jax.vmap(layer)(x) ** 2)

    text = eqx.filter_jit(eqx.filter_grad(loss)).lower(layer, x).as_text()
    there = not BACKENDS["cpu"].missing()
    for name in ("inox_normalize", "inox_normalize_cotangent"):
        assert len(re.findall(rf"@{name}\.v\d", text)) == int(there)


WRONG = {
    "another shape": (lambda: ours.LayerNorm(4)(jnp.ones((2, 4))), ValueError, "jax.vmap"),
    "another shape of rms": (lambda: ours.RMSNorm(4)(jnp.ones(3)), ValueError, r"\(4,\)"),
    "no array": (lambda: ours.RMSNorm(4)(None), TypeError, "x must be an array"),
    "a shape of floats": (lambda: ours.LayerNorm(4.0), TypeError, "shape must be an integer"),
    "a negative shape": (lambda: ours.LayerNorm((2, -1)), ValueError, "shape must not be neg"),
    "epsilon for a shape": (lambda: ours.LayerNorm(4, 8), ValueError, "epsilon must be a small"),
    "negative epsilon": (lambda: ours.RMSNorm(4, -1.0), ValueError, "epsilon must be finite"),
    "a dtype for a switch": (
        lambda: ours.LayerNorm(4, 1e-5, jnp.float32),
        TypeError,
        "use_weight must be True or False",
    ),
    "an integer dtype": (
        lambda: ours.LayerNorm(4, dtype=jnp.int32),
        TypeError,
        "dtype must be a floating-point",
    ),
    "groups that don't divide": (lambda: ours.GroupNorm(3, 4), ValueError, "groups must divide"),
    "no channels": (lambda: ours.GroupNorm(2), ValueError, "channels must be given"),
    "no groups": (lambda: ours.GroupNorm(0, 4), ValueError, "groups must be an integer above 0"),
    "other channels": (
        lambda: ours.GroupNorm(2, 4)(jnp.ones((6, 4))),
        ValueError,
        "x must have 4 channels in front",
    ),
    "channels beside the groups": (
        lambda: ours.GroupNorm(2, channelwise_affine=False)(jnp.ones((3, 4))),
        ValueError,
        "a multiple of 2",
    ),
    "a scalar": (lambda: ours.GroupNorm(1, 1)(jnp.ones(())), ValueError, "channels in front"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(case):
    """What a caller gets wrong is named, with what was found and the cure."""
    call, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        call()
