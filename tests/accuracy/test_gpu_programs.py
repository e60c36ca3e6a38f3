"""The bounds hold for what XLA for GPUs is given, carried out here."""

import pytest

from tests.accuracy.cases import CASES
from tests.accuracy.layouts import LAYOUTS, LONG
from tests.accuracy.test_grid import LONG_CASES, failures


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_programs_of_gpus_are_within_the_bounds(layout, dtype, rng):
    """Output, gradients, mean and variance on all the kinds of data that fit the dtype."""
    cases = [case for case in CASES if dtype in case.dtypes]
    assert failures(layout, cases, dtype, rng, "cuda") == []


@pytest.mark.parametrize("name", ["batch, thousands of samples", "group, a slice of a million"])
def test_long_slices_by_one_pass_are_within_the_bounds(name, rng):
    """A pilot mean, of which the first elements are no fair sample, costs no accuracy."""
    cases = [case for case in CASES if case.name in LONG_CASES]
    assert failures(LONG[name], cases, "float32", rng, "cuda") == []
