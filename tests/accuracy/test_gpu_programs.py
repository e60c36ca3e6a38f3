"""The bounds hold for what XLA for GPUs is given, carried out here."""

import jax
import pytest

from inox.kernels.expansion import expand
from tests.accuracy.cases import CASES, operands
from tests.accuracy.checking import measured, over
from tests.accuracy.layouts import LAYOUTS, LONG
from tests.accuracy.test_grid import LONG_CASES, failures
from tests.accuracy.tree_sums import with_tree_sums


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


def _output_and_dx(layout):
    """The gradient of x and of no parameter."""

    def run(x, dy, scale, bias, epsilon):
        y, pull = jax.vjp(lambda x: layout.call(x, scale, bias, epsilon, "xla"), x)
        return {"y": y, "dx": pull(dy)[0]}

    return jax.jit(with_tree_sums(expand(run, platform="cuda")))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_gradient_of_x_alone_is_within_its_bound(layout, dtype, rng):
    """Of rows it is a program of its own."""
    program = _output_and_dx(layout)
    found = {
        case.name: over(
            measured(layout, program, operands(case, layout, dtype, rng)), dtype, case.dominated
        )
        for case in CASES
        if dtype in case.dtypes
    }
    assert {name: broken for name, broken in found.items() if broken} == {}
