"""Rows of half types, which the kernels compute in float32 where its precision and range do."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels import native_calls

HALVES = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])


def exact(x, dy, scale, epsilon):
    """y without a bias, dx, and the terms of dscale, for rows of float64 numbers."""
    centred = x - x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    xhat, u = centred * rstd, dy * scale
    dx = rstd * (u - u.mean(-1, keepdims=True) - xhat * (u * xhat).mean(-1, keepdims=True))
    return xhat * scale, dx, dy * xhat


def rows(array, dtype):
    """Numbers of (rows, channels) as a half type, seen as the kernels see them."""
    return np.asarray(array, jnp.dtype(dtype))[None, :, None, None]


def error(found, expected, floor):
    """In units in the last place of a half type, of max(|expected|, floor)."""
    digits = jnp.finfo(found.dtype).nmant
    magnitude = np.maximum(np.maximum(abs(expected), floor), float(jnp.finfo(found.dtype).tiny))
    unit = 2.0 ** (np.floor(np.log2(magnitude)) - digits)
    return (abs(found.astype(np.float64) - expected) / unit).max()


@HALVES
@pytest.mark.parametrize("poison", [np.nan, np.inf, "large", "small", "zero"])
def test_other_rows_keep_every_bit(dtype, poison, rng):
    """A row that float32 can't hold goes to float64 alone: a million elements beside it stay."""
    x, dy = rng.standard_normal((2, 2048, 768))
    value = {"large": 1e4 if dtype == "float16" else 1e30, "small": 1e-7, "zero": 0.0}
    poisoned, other = x.copy(), dy.copy()
    poisoned[::8] *= value.get(poison, poison) if poison != "zero" else 1.0
    other[::8] *= 0 if poison == "zero" else 1
    kept = np.arange(2048) % 8 != 0
    clean = [native_calls.normalize(rows(x, dtype))]
    clean += native_calls.cotangent(rows(dy, dtype), rows(x, dtype), wanted=("dx",))[:1]
    found = [native_calls.normalize(rows(poisoned, dtype))]
    found += native_calls.cotangent(rows(other, dtype), rows(poisoned, dtype), wanted=("dx",))[:1]
    for a, b in zip(clean, found, strict=True):
        np.testing.assert_array_equal(a[:, kept], b[:, kept])


@HALVES
@pytest.mark.parametrize("channels", [2048, 4096, 65536])
def test_long_rows_with_a_dominating_element(dtype, channels, rng):
    """u r and xhat b are sqrt(n) times what is left of them, and it is within 0.51 units."""
    x, dy = 0.5 * rng.standard_normal((2, 4, channels))
    x[:, 0], dy[:, 0] = 5e4, 2e4
    x, dy = rows(x, dtype), rows(dy, dtype)
    y = native_calls.normalize(x)
    dx = native_calls.cotangent(dy, x, wanted=("dx",))[0]
    wide, wide_dy = (a.astype(np.float64)[0, :, 0, 0] for a in (x, dy))
    expected, expected_dx, _ = exact(wide, wide_dy, 1.0, np.float64(np.float32(1e-5)))
    rstd = 1 / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    floor = rstd * np.sqrt((wide_dy**2).mean(-1, keepdims=True))
    assert error(y[0, :, 0, 0], expected, 1.0) <= 0.51
    assert error(dx[0, :, 0, 0], expected_dx, floor) <= 0.51


@pytest.mark.parametrize(
    ("scale", "dy", "spread"), [(2.0**-80, 2.0**110, 2.0**25), (1.0, 2.0**-112, 2.0**-29)]
)
def test_gradient_of_the_scale_for_any_exponent(scale, dy, spread, rng):
    """Products that float32 has no number for, beside ordinary ones: within one unit of dscale."""
    x = spread * rng.standard_normal((16, 256))
    cotangent = np.where(np.arange(256) == 5, dy, 1.0) * rng.choice([-1.0, 1.0], (16, 256))
    x, cotangent = rows(x, "bfloat16"), rows(cotangent, "bfloat16")
    factor = np.where(np.arange(256) == 5, scale, 1.0)
    found = native_calls.cotangent(cotangent, x, factor[None, None], epsilon=0.0)[1]
    wide, wide_dy = (a.astype(np.float64)[0, :, 0, 0] for a in (x, cotangent))
    terms = exact(wide, wide_dy, factor, 0.0)[2]
    unit = np.spacing(abs(terms).sum(0).astype(np.float32)).astype(np.float64)
    assert (abs(found[0, 0] - terms.sum(0)) <= unit).all()
