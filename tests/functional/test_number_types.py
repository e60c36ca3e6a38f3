"""What becomes a floating-point array, and which: integers of any width, floats of 4 and 8 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional, nn

WIDE = {
    "int64": np.array([2**40, 2**40 + 2**38, 0]),
    "beyond int32 alone": np.array([2**31, 2**32, 3 * 2**31]),
    "uint64": np.array([2**64 - 1, 2**63, 0], np.uint64),
    "list": [2**40, -(2**41), 5],
    "list beyond 64 bits": [2**64, 2**63, 0],
    "list of integers and floats": [2**40, 0.5, -(2**40)],
    "tuple of NumPy's": (np.int64(2**40), np.int64(0), np.int64(2**39)),
}


def standardized(values, epsilon=1e-5):
    x = np.asarray(values, np.float64)
    return (x - x.mean()) / np.sqrt(x.var() + epsilon)


@pytest.mark.parametrize("x", WIDE.values(), ids=WIDE)
def test_wide_integers_keep_their_value(x):
    """Without 64-bit types JAX takes the last 32 bits of an integer: zeros, for 2**40."""
    for y in (functional.layer_norm(x), nn.LayerNorm()(x)):
        assert y.dtype == jnp.float32
        np.testing.assert_allclose(y, standardized(x), rtol=1e-6, atol=1e-6)
    mean = functional.moments(x, 0).mean
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, wide.mean(), rtol=1e-6, atol=1e-7 * wide.std())


def test_wide_integers_are_rounded_once(x64):
    """To float64 where that is the default float."""
    x = np.array([2**53 + 2, 2**53, 2**53 - 2])
    np.testing.assert_array_equal(functional.moments(x, 0).mean, np.float64(2**53))


def test_wide_integers_as_parameters():
    """Scale and bias, as arrays and as Python's numbers, of a function and of a layer."""
    x = np.array([1.0, -1.0, 1.0, -1.0], np.float32)
    big = np.array([2**40, 2**41, 3, 2**33])
    expected = standardized(x)
    np.testing.assert_allclose(functional.rms_norm(x, big, epsilon=0.0), x * big, rtol=1e-6)
    for scale in (2**40, np.int64(2**40), np.uint64(2**40), 2**40 * np.ones(4, int)):
        y = functional.layer_norm(x, scale, scale)
        np.testing.assert_allclose(y, (expected + 1) * 2**40, rtol=1e-4, atol=2**22)
    layer = nn.LayerNorm(scale=big, bias=big)
    np.testing.assert_allclose(layer.bias(), big.astype(np.float64), rtol=1e-7)


def test_counts_beyond_32_bits_are_merged():
    """Counts of other data may be Python's integers or NumPy's."""
    for count in (3_000_000_000, np.int64(3_000_000_000), 2**70):
        parts = [functional.Moments(count, 0.0, 1.0), functional.Moments(count, 4.0, 1.0)]
        merged = functional.merge_moments(*parts)
        np.testing.assert_allclose(merged, (2.0 * count, 2.0, 5.0), rtol=1e-6)


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "int4", "uint4", "bool"])
def test_narrow_integers_become_the_default_float(name):
    """Of any width that JAX has, from NumPy and from JAX."""
    x = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]])
    expected = np.stack([standardized(row) for row in x])
    for given in (x.astype(jnp.dtype(name)), jnp.asarray(x).astype(name)):
        y = functional.layer_norm(given)
        assert y.dtype == jnp.float32
        np.testing.assert_allclose(y, expected, rtol=1e-6)


NARROW = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz", "float8_e3m4", "float4_e2m1fn"]


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("implementation", [None, "xla"])
def test_floats_of_fewer_bits_are_computed_in_float32(name, implementation, rng):
    """Statistics and parameters are float32; y and dx are rounded once, to the dtype of x."""
    x = rng.normal(size=(5, 32)).astype(jnp.dtype(name))
    scale = rng.uniform(0.5, 1.5, 32).astype(np.float32)

    def program(x, scale):
        y, pull = jax.vjp(
            lambda *a: functional.layer_norm(*a, implementation=implementation), x, scale
        )
        return y, *pull(jnp.ones_like(y)), functional.moments(x, -1).mean

    y, dx, dscale, mean = jax.jit(program)(x, scale)
    assert (y.dtype, dx.dtype, dscale.dtype, mean.dtype) == (x.dtype, x.dtype, "float32", "float32")
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    xhat = centred * rstd
    np.testing.assert_array_equal(y, (xhat * scale).astype(x.dtype))
    np.testing.assert_allclose(dscale, xhat.sum(0), rtol=1e-5, atol=1e-5)
    projected = scale - scale.mean() - xhat * (xhat * scale).mean(-1, keepdims=True)
    np.testing.assert_array_equal(dx, (rstd * projected).astype(x.dtype))
    np.testing.assert_allclose(mean, wide.mean(-1), rtol=1e-6, atol=1e-7)
