"""`weight_norm` and `weight_standardize` against their formulas in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.functional import weight_norm, weight_standardize
from tests.functional.programs import quick_jit

# Shape of a kernel and the axes of its output channels.
KERNELS = [((7, 5), -1), ((5, 7), 0), ((3, 3, 4, 5), -1), ((3, 5, 4, 2), 1), ((2, 6, 5), (0, -1))]


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def others(shape, axis):
    """The axes that a channel spans, and the shape of one number a channel."""
    kept = {place % len(shape) for place in np.atleast_1d(axis)}
    spans = tuple(place for place in range(len(shape)) if place not in kept)
    return spans, tuple(n if place in kept else 1 for place, n in enumerate(shape))


def normed(v, g, axis):
    """Weight norm; complex numbers are taken for real ones on their way (no conjugates)."""
    spans, whole = others(v.shape, axis)
    return np.reshape(g, whole) * v / np.sqrt((v * v).sum(spans, keepdims=True))


def standardized(w, axis, epsilon):
    spans, _ = others(w.shape, axis)
    deviation = w - w.mean(spans, keepdims=True)
    return deviation / np.sqrt((deviation**2).mean(spans, keepdims=True) + epsilon)


def wide(array):
    return np.asarray(array).astype(np.float64)


def gains(shape, axis):
    return normal(tuple(shape[place] for place in np.atleast_1d(axis)), 1)


@pytest.mark.parametrize(("shape", "axis"), KERNELS, ids=str)
def test_values_whatever_the_magnitude(shape, axis):
    """Within 4 units of the last place of the formula, also where squares are no float32.

    Five roundings are half a unit each, and a sum's are one. A standardized number near 0 is a
    difference of larger ones: there the unit is that of 1.
    """
    g = gains(shape, axis)
    normalize = quick_jit(lambda v, g: weight_norm(v, g, axis=axis))
    standardize = quick_jit(lambda w: weight_standardize(w, axis=axis))
    plain = quick_jit(lambda w: weight_standardize(w, axis=axis, epsilon=0.0))
    for magnitude in (1, 1e30, 1e-30):
        v = normal(shape) * np.float32(magnitude)
        np.testing.assert_allclose(normalize(v, g), normed(wide(v), g, axis), rtol=4 * 2.0**-23)
        for found, epsilon in ((standardize(v), 1e-10), (plain(v), 0)):
            exact = standardized(wide(v), axis, epsilon)
            np.testing.assert_allclose(found, exact, rtol=0, atol=4 * 2.0**-23 * abs(exact).max())


def test_gains_of_every_shape():
    """One number a channel, with axes of size 1 beside it, or one for all."""
    v, g = normal((5, 3, 4)), normal((4,), 1)
    expected = np.asarray(weight_norm(v, g))
    np.testing.assert_array_equal(weight_norm(v, g[None, None]), expected)
    first = weight_norm(np.moveaxis(v, -1, 0), g[:, None, None], axis=0)
    np.testing.assert_allclose(first, np.moveaxis(expected, -1, 0), rtol=2.0**-22)
    lengths = np.linalg.norm(wide(weight_norm(v, 2.0)).reshape(-1, 4), axis=0)
    np.testing.assert_allclose(lengths, 2, rtol=2.0**-22)
    np.testing.assert_array_equal(weight_norm(v, None), weight_norm(v, 1.0))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_types_are_rounded_once(dtype):
    """Half a unit of the half type and a hundredth; gradients have the dtype of what they are of.

    Entries of 6e-5 and below, squared, are no float16.
    """
    v, g = jnp.asarray(normal((6, 4)) * np.float32(2e-3), dtype), normal((4,), 1)
    w, standard = weight_norm(v, g), weight_standardize(v, epsilon=0.0)
    pairs = ((w, normed(wide(v), g, -1)), (standard, standardized(wide(v), -1, 0)))
    for found, exact in pairs:
        assert found.dtype == dtype
        unit = 2.0 ** np.floor(np.log2(abs(exact))) * float(jnp.finfo(dtype).eps)
        assert (abs(wide(found) - exact) / unit).max() < 0.51
    of_v, of_g = jax.grad(lambda v, g: weight_norm(v, g).astype(jnp.float32).sum(), (0, 1))(v, g)
    assert (of_v.dtype, of_g.dtype) == (dtype, jnp.float32)


def test_gradients_whatever_the_magnitude():
    """dv = g/|v| (dw - u <u, dw>) and dg = <u, dw>, with u = v/|v|, at 1e30 and at 1e-30."""
    g, dw = normal((4,), 1), normal((6, 4), 2)
    pullback = quick_jit(lambda v, g: jax.vjp(weight_norm, v, g)[1](dw))
    for magnitude in (1, 1e30, 1e-30):
        v = normal((6, 4)) * np.float32(magnitude)
        length = np.linalg.norm(wide(v), axis=0)
        u = wide(v) / length
        along = (u * dw).sum(0)
        of_v, of_g = pullback(v, g)
        np.testing.assert_allclose(of_g, along, rtol=0, atol=2e-6)
        exact = g / length * (dw - u * along)
        np.testing.assert_allclose(of_v, exact, rtol=0, atol=2e-6 * abs(exact).max())


def test_channels_without_a_direction():
    """A channel of zeros gives 0, with gradients of 0, also of higher order; others keep theirs.

    So does one of equal numbers, standardized with epsilon 0.
    """
    v = np.where(np.arange(3) == 1, np.float32(0), normal((4, 3)))
    for function in (
        lambda v: weight_norm(v, np.ones(3, np.float32)),
        lambda v: weight_standardize(v, epsilon=0.0),
    ):
        gradient = jax.grad(lambda v, function=function: (function(v) ** 3).sum())
        both = quick_jit(lambda v, t, gradient=gradient: jax.jvp(gradient, (v,), (t,)))
        for found in (function(v), *both(v, np.ones_like(v))):
            assert np.isfinite(found).all()
            np.testing.assert_array_equal(found[:, 1], 0)
            assert (abs(np.asarray(found)[:, [0, 2]]).max(0) > 1e-8).all()
    of_g = jax.grad(lambda g: weight_norm(v, g).sum())(jnp.ones(3))
    assert of_g[1] == 0


@pytest.mark.usefixtures("x64")
def test_derivatives_of_two_orders():
    """In float64, against complex steps of the formula, and of its gradient in closed form."""
    shape, step = (3, 2, 4), 1e-30j
    v, t, dw = (np.random.default_rng(seed).normal(size=shape) for seed in range(3))
    g, of_g = np.random.default_rng(3).normal(size=(2, 4))
    jvp = quick_jit(lambda v, g: jax.jvp(weight_norm, (v, g), (t, of_g))[1])(v, g)
    exact = normed(v + step * t, g + step * of_g, -1).imag / 1e-30
    np.testing.assert_allclose(jvp, exact, atol=1e-14)

    def pulled_back(v, g):  # as above
        length = np.sqrt((v * v).sum((0, 1)))
        u = v / length
        return g / length * (dw - u * (u * dw).sum((0, 1)))

    gradient = jax.grad(lambda v, g: (weight_norm(v, g) * dw).sum())
    first, second = quick_jit(lambda v, g: jax.jvp(gradient, (v, g), (t, of_g)))(v, g)
    np.testing.assert_allclose(first, pulled_back(v, g), atol=1e-14)
    exact = pulled_back(v + step * t, g + step * of_g).imag / 1e-30
    np.testing.assert_allclose(second, exact, atol=1e-13)

    def scaled(v, epsilon=1e-3):
        return standardized(v, -1, epsilon)

    of_w = jax.jvp(lambda w: weight_standardize(w, epsilon=1e-3), (v,), (t,))[1]
    np.testing.assert_allclose(of_w, scaled(v + step * t).imag / 1e-30, atol=1e-14)


def test_stacked_layers():
    """Mapped over, kernels have the values that they have alone, or with their axis listed."""
    v, g = normal((3, 6, 4)), normal((3, 4), 1)
    mapped = jax.vmap(weight_norm)(v, g)
    np.testing.assert_allclose(mapped, weight_norm(v, g, axis=(0, -1)), rtol=2.0**-22)
    np.testing.assert_allclose(mapped[1], weight_norm(v[1], g[1]), rtol=2.0**-22)
