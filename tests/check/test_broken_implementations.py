"""The check finds implementations out that break a promise: real ones, which it is handed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from inox.check.command import main
from inox.check.exact import errors
from inox.check.hard_inputs import HARD_INPUTS, operands
from inox.check.layers import LAYERS, Layer, textbook
from inox.check.speed import seconds
from inox.kernels.cpu.library import library
from tests.accuracy.metric import errors as errors_in_extended_precision
from tests.accuracy.oracle import Slices, normalized

ROWS = LAYERS[1]


def checked(layer: Layer, *arguments: str) -> tuple[int, str]:
    """The exit status and the report for one layer."""
    lines: list[str] = []
    status = main(["--quick", *arguments], layers=[layer], write=lines.append)
    return status, "\n".join(lines)


def test_a_broken_bound_gives_status_1():
    """The textbook's formula in float32, on equal numbers and on a mean of 1e7 spreads."""
    status, report = checked(ROWS._replace(name="textbook", call=textbook(ROWS)))
    assert status == 1
    assert "BROKEN: textbook, float32: y errs by " in report
    assert "ulp, and at most 5.00 are published (" in report
    assert "Every promise is kept" not in report


def test_bits_that_depend_on_the_batch_give_status_1():
    """A norm that takes the kernels, and adds to x what stands in the rows beside."""
    if not library().available:
        pytest.skip("of the formulas nothing is promised")

    def leaky(x, scale, bias, epsilon, chosen):
        beside = jnp.sum(x, 0, keepdims=True) * jnp.asarray(2**-40, x.dtype)
        y = functional.layer_norm(x, scale, bias, epsilon=epsilon, implementation=chosen)
        return y + beside

    status, report = checked(ROWS._replace(name="leaky", call=leaky))
    assert status == 1
    assert "BROKEN: leaky, float32: an example's bits depend on its batch" in report


def test_a_sum_that_is_rounded_twice_gives_status_1():
    """It is compared with the sum of NumPy, to the bit; y of it is right nevertheless."""

    def twice(x, scale, bias, epsilon, chosen):
        residual = jax.lax.stop_gradient(jnp.roll(x, 1, -1))
        settings = {"epsilon": epsilon, "implementation": chosen}
        y, r = functional.add_rms_norm(x, residual, scale, **settings)
        return y, r.astype(jnp.bfloat16).astype(r.dtype)

    status, report = checked(LAYERS[-1]._replace(name="twice", call=twice))
    assert status == 1
    assert "BROKEN: twice, float32: r is not the sum rounded once" in report
    assert "errs by" not in report
    assert "twice, bfloat16" not in report.split("BROKEN", 1)[1]


def test_of_the_formulas_no_bits_are_promised():
    """With `--implementation xla` the bounds decide alone, those of the formulas."""
    status, report = checked(ROWS, "--implementation", "xla")
    assert status == 0
    assert " xla " in report
    assert " 5.00 " in report


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_errors_are_those_of_the_tests(layer):
    """float64 on the host is exact enough: the same errors as in extended precision, to 1e-3 ulp.

    Judged are results that are wrong in every way: another epsilon, and rounded to bfloat16.
    """
    for hard in HARD_INPUTS:
        if "float32" not in hard.dtypes:
            continue
        given = operands(layer, hard, "float32", 6)
        rank = len(given.x.shape)
        # The axes of the view, as those of x: the group's own axis is the last of x.
        axes = tuple(a if not layer.groups or a == -1 else a + 1 for a in layer.axes)
        slices = Slices(given.x.shape, tuple(a % rank for a in axes), layer.groups)
        bias = given.bias if layer.centred else np.zeros_like(given.bias)
        x = given.x + np.roll(given.x, 1, -1) if layer.adds else given.x
        right = normalized(
            slices, x, given.dy, given.scale, bias, given.epsilon, centred=layer.centred
        )
        for change in (1.0, 1.0 + 1e-5):
            y, dx = (
                (np.asarray(a, np.float64) * change).astype(np.float32) for a in (right.y, right.dx)
            )
            found = errors(layer, given, y, dx)
            expected = errors_in_extended_precision(right, given.scale, y=y, dx=dx)
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-3), hard.name


def test_medians_are_of_calls_in_turn():
    """Each contestant is called once in a round, so that a slow moment hits all alike."""
    order: list[str] = []
    found = seconds(
        {name: lambda name=name: order.append(name) for name in "ab"}, rounds=4, least=0.0
    )
    assert order[4:] == list("ab" * 4)  # after a call to compile and one to see how long it takes
    assert all(value > 0 for value in found.values())
