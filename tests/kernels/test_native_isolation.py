"""What the result of a slice depends on: its own elements, and nothing else."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.accuracy.cases import CASES, DTYPES
from tests.kernels import native_calls
from tests.kernels.native_cases import LAYOUTS, operands

pytestmark = pytest.mark.usefixtures("x64")

NORMAL = next(case for case in CASES if case.name == "mean/std 1e2")


def slices_but(shape: tuple[int, ...], left_out: tuple[int, int, int]) -> np.ndarray:
    """True for the elements of all slices but one (outer, inner, group)."""
    others = np.ones(shape, bool)
    outer, inner, group = left_out
    others[outer, inner, :, group] = False
    return others


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_that_is_not_finite_stays_in_its_slice(dtype, layout, rng):
    """NaN or infinity, first or last in a slice: the others keep every bit."""
    shape = LAYOUTS[layout]
    given = operands(NORMAL, shape, dtype, rng)
    x, dy, scale, bias = (given[name] for name in ("x", "dy", "scale", "bias"))
    y, (dx, _, _) = native_calls.normalize(x, scale, bias), native_calls.cotangent(dy, x, scale)
    assert np.isfinite(y.astype(np.float64)).all()
    at = tuple(size // 2 for size in (shape[0], shape[1], shape[3]))
    others = slices_but(shape, at)
    for value in (np.nan, np.inf):
        for length, channel in ((0, 0), (-1, -1)):
            spoilt = x.copy()
            spoilt[at[0], at[1], length, at[2], channel] = value
            spoilt_y = native_calls.normalize(spoilt, scale, bias)
            spoilt_dx, _, _ = native_calls.cotangent(dy, spoilt, scale)
            np.testing.assert_array_equal(spoilt_y[others], y[others])
            np.testing.assert_array_equal(spoilt_dx[others], dx[others])
            assert np.isnan(spoilt_y[~others].astype(np.float64)).all()


@pytest.mark.parametrize("channels", [1, 5, 8, 16, 64, 100, 3000])
@pytest.mark.parametrize("groups", [1, 11])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_the_rows_beside_it(dtype, groups, channels, rng):
    """Alone, or among others in any place, a row has the same y and dx, bit for bit."""
    shape = (1, 21, 1, groups, channels)
    given = operands(NORMAL, shape, dtype, rng)
    x, dy, scale = given["x"], given["dy"], given["scale"]
    y = native_calls.normalize(x, scale)
    dx, _, _ = native_calls.cotangent(dy, x, scale)
    for rows in (slice(0, 1), slice(4, 7), slice(20, 21), slice(2, 21)):
        np.testing.assert_array_equal(native_calls.normalize(x[:, rows], scale), y[:, rows])
        part, _, _ = native_calls.cotangent(dy[:, rows], x[:, rows], scale)
        np.testing.assert_array_equal(part, dx[:, rows])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [0.0, 1e-30, 1e-5])
@pytest.mark.parametrize("centred", [True, False], ids=["layer norm", "RMS norm"])
def test_a_constant_slice_gives_the_bias(centred, epsilon, dtype, layout, rng):
    """Equal numbers (RMS norm: zeros): y is the bias, and dscale gets nothing, to the bit.

    dbias is the sum of dy; dx is finite, and 0 with epsilon 0.
    """
    shape = LAYOUTS[layout]
    outer, inner, _, groups, channels = shape
    kind = jnp.dtype(dtype)
    value = np.exp(rng.uniform(-5, 5, (outer, inner, 1, groups, 1)))
    x = np.broadcast_to(value * centred, shape).astype(kind)
    dy = rng.standard_normal(shape).astype(kind)
    scale = rng.standard_normal((outer, groups, channels)).astype(native_calls.accumulator(kind))
    bias = rng.standard_normal((outer, groups, channels)).astype(native_calls.accumulator(kind))
    y = native_calls.normalize(x, scale, bias, epsilon, centred=centred)
    expected = bias.reshape(outer, 1, 1, groups, channels).astype(kind)
    np.testing.assert_array_equal(y, np.broadcast_to(expected, shape))
    dx, dscale, dbias = native_calls.cotangent(dy, x, scale, epsilon, centred=centred)
    assert not dscale.any()
    wide = dy.astype(np.float64)
    units = 5 if dtype == "float64" else 1  # as in native_cases.limits
    bound = units * np.finfo(dbias.dtype).eps * np.abs(wide).sum((1, 2))
    assert (np.abs(dbias - wide.sum((1, 2))) <= bound).all()
    if epsilon == 0:
        assert not dx.any()
    elif dtype != "float16" or epsilon > 1e-10:  # 1e15 is infinite in float16
        assert np.isfinite(dx.astype(np.float64)).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_slice_beside_others_adds_nothing_to_their_sums(dtype, layout, rng):
    """With epsilon 0 the gradient of the scale is that of the other slices, as if it were alone."""
    outer, inner, length, groups, channels = LAYOUTS[layout]
    shape, kind = (outer, inner + 1, length, groups, channels), jnp.dtype(dtype)
    x, dy = (rng.standard_normal(shape).astype(kind) for _ in range(2))
    x[:, -1] = 3
    dx, dscale, _ = native_calls.cotangent(dy, x, None, 0.0)
    rest_dx, rest_dscale, _ = native_calls.cotangent(dy[:, :-1], x[:, :-1], None, 0.0)
    assert not dx[:, -1].any()
    np.testing.assert_array_equal(dx[:, :-1], rest_dx)
    np.testing.assert_allclose(dscale, rest_dscale, rtol=0, atol=1e-5)
