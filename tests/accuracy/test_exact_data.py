"""Data for which the statistics are exact numbers: there the tolerance is zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inox.functional
from tests.accuracy.cases import DTYPES
from tests.accuracy.checking import EACH_IMPLEMENTATION, compiled
from tests.accuracy.layouts import LAYOUTS, LONG

CENTRED = {name: layout for name, layout in (LAYOUTS | LONG).items() if layout.centred}


# Of the longest slices, one dtype is enough.
COMBINATIONS = [
    (name, dtype) for name in CENTRED for dtype in DTYPES if name in LAYOUTS or dtype == "float32"
]


@EACH_IMPLEMENTATION
@pytest.mark.parametrize(("name", "dtype"), COMBINATIONS)
def test_statistics_of_small_integers_are_exact(name, dtype, implementation, rng):
    """A slice that is half c + a and half c - a has the mean c and the variance a * a.

    All sums of it are integers that the dtype holds, so no rounding error excuses a difference.
    """
    slices = CENTRED[name].slices
    count, length = slices.rows(np.zeros(slices.shape)).shape
    signs = np.resize([1, -1], (count, length - length % 2))
    signs = np.concatenate([signs, np.zeros((count, length % 2))], 1)
    if count * length < 10**5:
        signs = rng.permuted(signs, axis=1)
    centre = rng.integers(-6, 7, (count, 1))
    spread = 2 ** rng.integers(0, 3, (count, 1))
    x = slices.unrows(centre + spread * signs).astype(jnp.dtype(dtype))
    with jax.enable_x64(dtype == "float64"):
        moments = jax.jit(
            lambda x: inox.functional.moments(
                jnp.reshape(x, slices.view), slices.view_axis, implementation=implementation
            )
        )(x)
    np.testing.assert_array_equal(np.ravel(moments.mean), centre[:, 0])
    if length % 2 == 0:
        np.testing.assert_array_equal(np.ravel(moments.var), spread[:, 0] ** 2)
    np.testing.assert_array_equal(np.ravel(moments.count), length)


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_zero_variance_gives_exactly_the_bias(layout, dtype, implementation, rng):
    """Slices of one number, of any magnitude: y is the bias, the gradients are finite, dscale is 0.

    RMS norm does not centre, so there only the slices of zeros are asked for.
    """
    slices, kind = layout.slices, jnp.dtype(dtype)
    count = len(slices.rows(np.zeros(slices.shape)))
    largest = 4.0 if dtype == "float16" else 18.0
    size = 10 ** rng.uniform(-largest, largest, (count, 1)) * rng.choice([-1, 0, 1], (count, 1))
    x = slices.unrows(size if layout.centred else 0 * size).astype(kind)
    parameter = np.float64 if dtype == "float64" else np.float32
    scale, bias = rng.standard_normal((2, *layout.parameter_shape)).astype(parameter)
    dy = rng.standard_normal(slices.shape).astype(kind)
    with jax.enable_x64(dtype == "float64"):
        results = compiled(layout, implementation)(x, dy, scale, bias, np.asarray(1e-5, parameter))
        y = np.asarray(results["y"])
    expected = bias if layout.centred else 0 * bias
    np.testing.assert_array_equal(y, np.broadcast_to(expected.astype(kind), y.shape))
    assert np.all(np.isfinite(np.asarray(results["dx"], np.float64)))
    np.testing.assert_array_equal(results["dscale"], 0)
    if layout.centred:
        assert np.all(np.isfinite(np.asarray(results["dbias"])))
        np.testing.assert_array_equal(results["var"], 0)
