"""The compiled kernels' statistics, and sums against them."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.accuracy.cases import DTYPES
from tests.accuracy.oracle import Slices, Wide, widened
from tests.kernels import native_calls

pytestmark = pytest.mark.usefixtures("x64")

# (outer, length, groups, channels); the last two are summed in parts.
SHAPES = [(3, 1, 4, 40), (2, 60, 7, 1), (2, 50, 3, 6), (1, 1, 1, 40_000), (1, 3000, 24, 2)]


def per_slice(x: np.ndarray) -> np.ndarray:
    """The elements of (outer, length, groups, channels) with a slice a row, by group."""
    return Slices(x.shape, (1, 3)).rows(x)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_representable_moments_are_exact(dtype, shape, rng):
    """Integers whose mean is an integer and whose variance is a fraction: no error at all.

    Each slice holds pairs m - k and m + k, and m if its length is odd: the sum of squares is a sum
    of small integers, and its quotient by the length is rounded once.
    """
    outer, length, groups, channels = shape
    size, slices = length * channels, outer * groups
    mean = rng.integers(-60, 60, (slices, 1))
    half = rng.integers(0, 60, (slices, size // 2))
    rows = np.concatenate([mean - half, mean + half, np.repeat(mean, size % 2, 1)], 1)
    rows = rng.permuted(rows, axis=1)
    x = Slices(shape, (1, 3)).unrows(rows).astype(jnp.dtype(dtype))
    found_mean, mean_low, var = native_calls.moments(x)
    np.testing.assert_array_equal(found_mean.ravel(), mean[:, 0])
    np.testing.assert_array_equal(mean_low, np.zeros_like(mean_low))
    exact = 2 * (half.astype(Wide) ** 2).sum(1) / size
    np.testing.assert_array_equal(var.ravel(), exact.astype(var.dtype))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_and_residual_together_are_the_exact_mean(dtype, shape, rng):
    """Each is rounded once: their sum errs by 2^-49 of the mean, 25 bits beyond float32."""
    mean = 100 if dtype == "float16" else 1e4
    x = (mean + rng.standard_normal(shape)).astype(jnp.dtype(dtype))
    found_mean, mean_low, _ = (widened(result).ravel() for result in native_calls.moments(x))
    exact = per_slice(widened(x)).mean(-1)
    assert (np.abs(found_mean + mean_low - exact) <= 2.0**-49 * np.abs(exact)).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("wide", [False, True], ids=["t like x", "t like the statistics"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_centred_sums(dtype, wide, shape, rng):
    """Sums of t and of t (x - mean - mean_low), within a unit of the sum of the magnitudes."""
    kind = jnp.dtype(dtype)
    x = (3 + rng.standard_normal(shape)).astype(kind)
    t = rng.standard_normal(shape).astype(native_calls.accumulator(kind) if wide else kind)
    mean, mean_low, _ = native_calls.moments(x)
    found = native_calls.centred_sums(t, x, mean, mean_low)
    # Any mean may be given, not just that of x.
    other = native_calls.centred_sums(t, x, mean + 1, np.zeros_like(mean_low))
    wide_t = per_slice(widened(t))
    for (total, products), given_mean, given_residual in (
        (found, mean, mean_low),
        (other, mean + 1, np.zeros_like(mean_low)),
    ):
        centre = widened(given_mean).reshape(-1, 1)
        deviation = (per_slice(widened(x)) - centre) - widened(given_residual).reshape(-1, 1)
        unit = Wide(np.finfo(mean.dtype).eps) * (4 if dtype == "float64" else 1)
        for result, terms in ((total, wide_t), (products, wide_t * deviation)):
            error = np.abs(widened(result).ravel() - terms.sum(-1))
            assert (error <= unit * np.abs(terms).sum(-1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_has_no_variance(dtype, rng):
    """The mean of equal numbers is that number, and mean_low and variance are exactly 0."""
    value = rng.uniform(-1000, 1000, (4, 1, 5, 1)).astype(jnp.dtype(dtype))
    x = np.broadcast_to(value, (4, 77, 5, 3))
    mean, mean_low, var = native_calls.moments(x)
    np.testing.assert_array_equal(mean, value[:, 0, :, 0].astype(mean.dtype))
    assert not mean_low.any()
    assert not var.any()
