"""The bounds hold for what XLA for TPU is given where there is no kernel, carried out here."""

import jax
import jax.numpy as jnp
import pytest

from inox.functional import group_norm
from inox.kernels.expansion import expand
from tests.accuracy.cases import CASES
from tests.accuracy.layouts import LAYOUTS, LONG
from tests.accuracy.test_grid import LONG_CASES, failures

PLATFORM = "tpu programs"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_programs_of_tpus_are_within_the_bounds(layout, dtype, rng):
    """Output, gradients, mean and variance on all the kinds of data that fit the dtype."""
    cases = [case for case in CASES if dtype in case.dtypes]
    assert failures(layout, cases, dtype, rng, PLATFORM) == []


@pytest.mark.parametrize("name", ["batch, thousands of samples", "group, a slice of a million"])
def test_long_slices_by_one_pass_are_within_the_bounds(name, rng):
    """A pilot mean, of which the first elements are no fair sample, costs no accuracy."""
    cases = [case for case in CASES if case.name in LONG_CASES]
    assert failures(LONG[name], cases, "float32", rng, PLATFORM) == []
