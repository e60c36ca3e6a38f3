"""From a compiled program and operands to the errors that are over their bound."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from tests.accuracy.bounds import bound
from tests.accuracy.cases import Operands
from tests.accuracy.layouts import Layout
from tests.accuracy.metric import errors

Program = Callable[..., Mapping[str, jax.Array]]


@functools.cache
def compiled(layout: Layout) -> Program:
    """The program of a layout, compiled once for each dtype whatever number of tests use it."""
    return jax.jit(layout.program())


def measured(layout: Layout, program: Program, operands: Operands) -> dict[str, float]:
    """The worst error of every result, by name."""
    results = program(*operands)
    given: dict[str, Any] = {name: np.asarray(value) for name, value in results.items()}
    assert given["y"].dtype == operands.x.dtype
    return errors(layout.exact(*operands), operands.scale, **given)


def over(found: Mapping[str, float], dtype: str, dominated: bool = False) -> list[str]:
    """Which of the errors are over their bound, in words."""
    limits = {name: bound(name, dtype, dominated) for name in found}
    return [
        f"{name} {error:.3g} > {limits[name]:g}"
        for name, error in found.items()
        if not error <= limits[name]
    ]
