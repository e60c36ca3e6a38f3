"""Slices of two numbers, of which a mask leaves some: the variance is a fraction that is known.

Equal terms have equal rounding errors, which add up where those of other data average out.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inox.functional
from inox.check.bounds import bound
from tests.accuracy.cases import DTYPES
from tests.accuracy.metric import ulp


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("length", [16, 31, 64, 264, 1000])
def test_variance_of_masked_zeros_and_ones(length, axis, rng):
    """With k of n ones it is k (n - k) / n²; the bound is that of all data, whatever the dtype."""
    # Along columns of more than 2**17 elements XLA's own sum of equal terms errs by more.
    rows = (200_000 if axis == -1 else 100_000) // length
    x = rng.uniform(size=(rows, length)) < rng.uniform(size=(rows, 1))
    where = rng.uniform(size=x.shape) < rng.uniform(size=(rows, 1))
    n, k = where.sum(1), (x & where).sum(1)
    varied = (k > 0) & (k < n)
    for dtype in DTYPES:
        with jax.enable_x64(dtype == "float64"):
            moments = jax.jit(lambda x, where: inox.functional.moments(x, axis, where=where))(
                np.moveaxis(x, -1, axis).astype(jnp.dtype(dtype)), np.moveaxis(where, -1, axis)
            )
            var = np.asarray(moments.var)
        wide = np.longdouble(1)
        exact = wide * (k * (n - k))[varied] / (n * n)[varied]
        error = np.abs(var[varied] - exact) / ulp(exact, var.dtype)
        assert error.max() <= bound("var", dtype), dtype
        np.testing.assert_array_equal(var[~varied], 0)
