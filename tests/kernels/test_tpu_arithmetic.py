"""Division and roots of the kernels for TPU: rounded once, whatever the hardware's estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from inox.kernels.arithmetic import two_sum
from inox.kernels.tpu.exact_arithmetic import divided, reciprocal_roots, split_count

COUNTS = [1, 3, 7, 36, 100, 255, 768, 769, 1000, 3000, 4097, 65521, 2**24 - 1]


def ulps(found, expected):
    """The largest error in units in the last place."""
    unit = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    return np.max(np.abs(np.asarray(found, np.float64) - expected) / unit)


@pytest.mark.parametrize("count", COUNTS)
def test_a_quotient_is_rounded_once(count, rng):
    """Half an ulp, over the range of sums of numbers up to 1e18."""
    total = (rng.standard_normal(4096) * 10.0 ** rng.uniform(-18, 18, 4096)).astype(np.float32)
    found = jax.jit(lambda t: divided(t, count))(total)
    assert ulps(found, total.astype(np.float64) / count) <= 0.5001


@pytest.mark.parametrize("count", COUNTS)
def test_a_quotient_that_is_a_number_is_found(count):
    """What a slice of equal numbers depends on: n k / n is k."""
    most = min(64, 2**24 // count)
    k = np.arange(-most, most + 1).astype(np.float32)
    for unit in np.float32([1, 2.0**-60, 2.0**60]):
        found = jax.jit(lambda t: divided(t, count))(k * np.float32(count) * unit)
        np.testing.assert_array_equal(found, k * unit)


@pytest.mark.parametrize("count", COUNTS)
def test_a_count_is_split_into_numbers_of_12_bits(count):
    high, low = split_count(count)
    assert high + low == count
    for part in (high, low):
        mantissa = abs(int(part))
        while mantissa and mantissa % 2 == 0:
            mantissa //= 2
        assert mantissa < 2**12


@pytest.mark.parametrize("error", [0, 2.0**-7, -(2.0**-7), 2.0**-9, -(2.0**-9)])
def test_roots_need_seven_bits_of_an_estimate(error, rng):
    """The reciprocal root and the reciprocal, over the range of variances, within 0.502 ulp."""
    v = (10.0 ** rng.uniform(-36, 36, 50_000)).astype(np.float32)

    def estimate(w):
        return lax.rsqrt(w) * jnp.float32(1 + error)

    found = jax.jit(lambda v: reciprocal_roots(v, estimate))(v)
    wide = v.astype(np.float64)
    assert ulps(found.root, 1 / np.sqrt(wide)) <= 0.502
    assert ulps(found.square, 1 / wide) <= 0.502


def test_roots_of_what_is_no_variance():
    """0 for 0, which slices of equal numbers have with epsilon 0; NaN for infinity and NaN."""
    found = jax.jit(reciprocal_roots)(np.float32([0, np.inf, np.nan]))
    for values in found:
        np.testing.assert_array_equal(values, np.float32([0, np.nan, np.nan]))


def test_a_sum_of_two_keeps_its_rounding_error(rng):
    a, b = (rng.standard_normal((2, 4096)) * 10.0 ** rng.uniform(-6, 6, (2, 4096))).astype(
        np.float32
    )
    total, error = (np.asarray(part, np.float64) for part in jax.jit(two_sum)(a, b))
    np.testing.assert_array_equal(total + error, a.astype(np.float64) + b)
