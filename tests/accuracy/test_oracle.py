"""The extended-precision oracle agrees with arithmetic of 60 digits, written from the formulas."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from tests.accuracy.metric import ulp, worst
from tests.accuracy.oracle import Slices, Wide, normalized, reduce_to, widened

CASES = {
    "normal": (lambda rng, shape: rng.standard_normal(shape), 1e-5),
    "mean/std 1e7": (lambda rng, shape: 1e7 + rng.standard_normal(shape), 1e-5),
    "mean/std 1e7, epsilon 0": (lambda rng, shape: 1e7 + rng.standard_normal(shape), 0.0),
    "std 1e-14, epsilon 0": (lambda rng, shape: 1e-14 * rng.standard_normal(shape), 0.0),
    "up to 1e18": (lambda rng, shape: rng.uniform(-1e18, 1e18, shape), 1e-5),
}


def digits(x, dy, scale, bias, epsilon, centred):
    """y, mean, var, dx and the terms of dscale for one slice, by differentiating the formula.

    The derivative goes through the variance and the mean by the chain rule, unlike the oracle's,
    which is the projection that both lead to.
    """
    mpf = mpmath.mpf
    x, dy, scale, bias = ([mpf(float(v)) for v in a] for a in (x, dy, scale, bias))
    n = len(x)
    mean = mpmath.fsum(x) / n if centred else mpf(0)
    var = mpmath.fsum((v - mean) ** 2 for v in x) / n
    rstd = 1 / mpmath.sqrt(var + mpf(float(epsilon)))
    xhat = [(v - mean) * rstd for v in x]
    y = [v * s + b for v, s, b in zip(xhat, scale, bias, strict=True)]
    g = [v * s for v, s in zip(dy, scale, strict=True)]
    # d sum(y dy) / d var and / d mean, then both are functions of each x
    by_var = mpmath.fsum(a * (v - mean) for a, v in zip(g, x, strict=True)) * (-(rstd**3) / 2)
    by_mean = -rstd * mpmath.fsum(g) if centred else mpf(0)
    dx = [a * rstd + by_var * 2 * (v - mean) / n + by_mean / n for a, v in zip(g, x, strict=True)]
    return y, mean, var, dx, [a * v for a, v in zip(dy, xhat, strict=True)]


def wide(numbers):
    """Numbers of 60 digits as extended precision, rounded once."""
    return np.array([Wide(mpmath.nstr(v, 30)) for v in numbers])


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("normal", "float16"), *((name, dtype) for name in CASES for dtype in ("float32", "float64"))],
)
def test_the_oracle_is_good_to_a_thousandth_of_a_unit(name, dtype, centred, rng):
    """Units of float64, the most that is asked of it; a table, its slices the columns."""
    recipe, epsilon = CASES[name]
    slices = Slices((23, 3), (0,))
    x = recipe(rng, slices.shape).astype(dtype)
    dy = rng.standard_normal(slices.shape).astype(dtype)
    scale, bias = rng.standard_normal((2, 3)).astype("float32")
    exact = normalized(slices, x, dy, scale, bias, epsilon, centred=centred)
    with mpmath.workdps(60):
        for i in range(3):
            column = (a[:, i] for a in (x, dy))
            spread = (np.full(23, a[i]) for a in (scale, bias))
            y, mean, var, dx, terms = digits(*column, *spread, epsilon, centred)
            thousandth = {
                "y": ulp(np.maximum(abs(exact.y[:, i]), abs(widened(scale[i]))), "float64"),
                "dx": ulp(np.maximum(abs(exact.dx[:, i]), exact.dx_floor[:, i]), "float64"),
                "mean": ulp(max(abs(exact.mean[i]), np.sqrt(exact.var[i])), "float64"),
                "var": ulp(exact.var[i], "float64"),
            }
            assert worst(exact.y[:, i], wide(y), thousandth["y"]) < 2e-3
            assert worst(exact.dx[:, i], wide(dx), thousandth["dx"]) < 4e-3
            assert worst(exact.mean[i], wide([mean]), thousandth["mean"]) < 1e-3
            assert worst(exact.var[i], wide([var]), thousandth["var"]) < 2e-3
            size = Wide(2.0**-52) * exact.dscale_terms[i]
            assert worst(exact.dscale[i], wide([mpmath.fsum(terms)]), size) < 1e-3


def test_slices_are_those_of_numpy_axes(rng):
    """Rows and back, against means that NumPy takes over the same axes."""
    x = rng.standard_normal((3, 4, 5, 6))
    for axis in [(-1,), (0,), (2, 0), (1, 3), (-1, -2, -3)]:
        slices = Slices(x.shape, axis)
        np.testing.assert_array_equal(slices.unrows(slices.rows(x)), x)
        means = slices.unrows(slices.rows(x).mean(-1, keepdims=True))
        exact = np.broadcast_to(x.mean(axis, keepdims=True), x.shape)
        np.testing.assert_allclose(means, exact, atol=1e-15)
    grouped = Slices(x.shape, (1, 2, 3), groups=2)
    np.testing.assert_array_equal(grouped.unrows(grouped.rows(x)), x)
    means = grouped.rows(x).mean(-1).reshape(3, 2)
    np.testing.assert_allclose(means[:, 0], x[..., :3].mean((1, 2, 3)), atol=1e-15)


def test_reduce_to_is_the_transpose_of_broadcasting(rng):
    x = rng.standard_normal((3, 4, 5))
    np.testing.assert_allclose(reduce_to(x, (5,)), x.sum((0, 1)), atol=1e-14)
    np.testing.assert_allclose(reduce_to(x, (3, 1, 5)), x.sum(1, keepdims=True), atol=1e-14)
    np.testing.assert_allclose(reduce_to(x, (1, 1, 1)), x.sum(keepdims=True), atol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_unit_is_the_distance_to_the_next_number(dtype):
    """Counted up from numbers on both sides of powers of two, and below the least normal one."""
    kind = jnp.dtype(dtype)
    least = float(jnp.finfo(kind).smallest_subnormal)
    numbers = np.array([1.0, 1.5, 1.9375, 2.0, 3.0, 0.75, 96.0, 1024.0, least, 5 * least])
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[kind.itemsize]
    following = (numbers.astype(kind).view(bits) + bits(1)).view(kind)
    distance = widened(following) - widened(numbers.astype(kind))
    np.testing.assert_array_equal(ulp(widened(numbers), kind), distance)
