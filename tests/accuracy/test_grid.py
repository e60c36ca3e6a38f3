"""The published bounds hold for every layer, arrangement of axes, dtype and kind of data."""

import jax
import numpy as np
import pytest

from tests.accuracy.cases import CASES, DTYPES, Case, operands
from tests.accuracy.checking import EACH_IMPLEMENTATION, compiled, measured, over
from tests.accuracy.layouts import LAYOUTS, LONG, Layout


def failures(
    layout: Layout, cases: list[Case], dtype: str, rng: np.random.Generator, implementation: str
) -> list[str]:
    """One program, compiled once, on the data of all cases."""
    found = []
    with jax.enable_x64(dtype == "float64"):
        program = compiled(layout, implementation)
        for case in cases:
            errors = measured(layout, program, operands(case, layout, dtype, rng))
            texts = over(
                errors, dtype, case.dominated, layout=layout, implementation=implementation
            )
            found += [f"{case.name}: {text}" for text in texts]
    return found


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_result_is_within_its_bound(layout, dtype, implementation, rng):
    """Output, gradients, mean and variance, jitted, on all the kinds of data that fit the dtype."""
    cases = [case for case in CASES if dtype in case.dtypes]
    assert failures(layout, cases, dtype, rng, implementation) == []


LONG_CASES = ("mean/std 1e7", "up to 1e18", "outlier first, 1e6", "alternating")


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("layout", LONG.values(), ids=LONG)
def test_sums_of_a_million_terms_are_within_the_bounds(layout, implementation, rng):
    """The error does not grow with the length: float32 has 24 bits, a million terms take 20."""
    cases = [case for case in CASES if case.name in LONG_CASES]
    assert len(cases) == len(LONG_CASES)
    assert failures(layout, cases, "float32", rng, implementation) == []


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_rows_of_a_million_in_other_dtypes(dtype, implementation, rng):
    cases = [case for case in CASES if case.name == "mean/std 1e2"]
    layout = LONG["layer, rows of a million"]
    assert failures(layout, cases, dtype, rng, implementation) == []
