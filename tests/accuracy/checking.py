"""From a compiled program and operands to the errors that are over their bound."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import pytest

from inox.check.bounds import bound, kernel_bound
from tests.accuracy.cases import Operands
from tests.accuracy.layouts import IMPLEMENTATIONS, Layout
from tests.accuracy.metric import errors

Program = Callable[..., Mapping[str, jax.Array]]

EACH_IMPLEMENTATION = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


@functools.cache
def compiled(layout: Layout, implementation: str = "xla") -> Program:
    """The program of a layout, compiled once for each dtype whatever number of tests use it."""
    return jax.jit(layout.program(implementation))


def measured(layout: Layout, program: Program, operands: Operands) -> dict[str, float]:
    """The worst error of every result, by name."""
    results = program(*operands)
    given: dict[str, Any] = {name: np.asarray(value) for name, value in results.items()}
    assert given["y"].dtype == operands.x.dtype
    return errors(layout.exact(*operands), operands.scale, **given)


def over(
    found: Mapping[str, float],
    dtype: str,
    dominated: bool = False,
    *,
    layout: Layout | None = None,
    implementation: str = "xla",
) -> list[str]:
    """Which of the errors are over their bound, in words."""
    limits = {name: bound(name, dtype, dominated) for name in found}
    if implementation == "cpu":
        left = layout.by_xla if layout else ()
        limits |= {name: kernel_bound(name, dtype, dominated) for name in found if name not in left}
    return [
        f"{name} {error:.3g} > {limits[name]:g}"
        for name, error in found.items()
        if not error <= limits[name]
    ]
