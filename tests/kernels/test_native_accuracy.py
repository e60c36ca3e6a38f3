"""The compiled kernels against extended precision, on data that are hard for a normalization."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.accuracy.cases import CASES, DTYPES
from tests.accuracy.metric import errors
from tests.kernels import native_calls
from tests.kernels.native_cases import LAYOUTS, exact, measured, operands, over

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_result_is_within_its_bound(dtype, layout, rng):
    """y and dx are rounded once, statistics and sums within a unit, on every kind of data."""
    wrong = []
    for case in CASES:
        if dtype not in case.dtypes:
            continue
        for centred in (True, False):
            given = operands(case, LAYOUTS[layout], dtype, rng)
            found = measured(**given, epsilon=case.epsilon, centred=centred)
            wrong += [
                f"{case.name}, {'' if centred else 'not '}centred: {error}"
                for error in over(found, dtype, case.dominated)
            ]
    assert not wrong


# Beyond what formulas in float32 bear: squares would leave the range of numbers.
EXTREMES = {
    "denormal numbers": (0.0, 1e-40, 0.0, 1e-42),
    "denormal numbers beside a normal mean": (1e-37, 1e-43, 0.0, 1e-42),
    "up to 1e30": (0.0, 1e30, 1e-5, 1e30),
    "a mean of 1e37": (1e37, 1e31, 1e-5, 1e30),
    "the largest numbers": (0.0, 5e37, 1e-5, 1.0),
    "the least epsilon": (3.0, 1e-20, 1e-45, 1e-22),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", EXTREMES)
def test_float32_is_exact_over_its_whole_range(name, layout, rng):
    """Sizes whose squares or reciprocals float32 can't hold cost no accuracy."""
    mean, spread, epsilon, gradient = EXTREMES[name]
    shape = LAYOUTS[layout]
    x = (mean + spread * rng.standard_normal(shape)).astype(np.float32)
    dy = (gradient * rng.standard_normal(shape)).astype(np.float32)
    scale = rng.uniform(0.5, 2, (1, *shape[3:])).astype(np.float32)
    assert np.isfinite(x).all()
    y = native_calls.normalize(x, scale, None, epsilon)
    dx, _, _ = native_calls.cotangent(dy, x, scale, epsilon)
    right, full_scale = exact(x=x, dy=dy, scale=scale, epsilon=epsilon)
    assert over(errors(right, full_scale, y=y, dx=dx), "float32") == []


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1_000_003), (1, 1, 1_000_003, 1, 1)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_slice_of_a_million(dtype, shape, rng):
    """Long sums lose nothing that shows, with a mean of a hundred standard deviations."""
    scaled = 1 if dtype == "float16" else 100
    x = (scaled + rng.standard_normal(shape)).astype(jnp.dtype(dtype))
    dy = rng.standard_normal(shape).astype(jnp.dtype(dtype))
    assert over(measured(x=x, dy=dy, epsilon=1e-5), dtype) == []
