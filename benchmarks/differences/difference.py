"""A difference between a framework's layer and ours under its name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Difference:
    """One situation, computed by the framework's own class and by ours.

    Args:
        framework: The framework's name.
        layer: The layers that it is about.
        situation: What is done, and what is measured.
        measure: From the namespace of the layers, theirs or ours, to the measured value.
        right: Whether a measured value is what it should be.
    """

    framework: str
    layer: str
    situation: str
    measure: Callable[[Any], Any]
    right: Callable[[Any], bool]


class Error(float):
    """How far off a result is: of rounding, which differs from processor to processor."""


def distance(y: Any, expected: Any) -> Error:
    """The largest distance between a result and what it should be."""
    wide = np.complex128 if np.iscomplexobj(expected) else np.float64
    return Error(np.abs(np.asarray(y).astype(wide) - expected).max())


def within(bound: float, of: float = 0.0) -> Callable[[Any], bool]:
    """Whether a value is a number no further than `bound` from another."""
    return lambda value: isinstance(value, float) and abs(value - of) <= bound


def told(value: Any) -> str:
    """A measured value in a few characters: errors by two digits, other numbers by three."""
    if isinstance(value, tuple):
        return ", ".join(map(told, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    short = float(f"{value:.2g}" if isinstance(value, Error) else f"{value:.3g}")
    return f"{short + 0.0:g}" if short == 0 or 1e-3 <= abs(short) < 1e5 else f"{short:.1e}"


def tells(cell: str, value: Any) -> bool:
    """Whether a cell of the table tells a value that is measured anew.

    Errors are held to a factor of 4, as processors round in other ways, those of float32's own
    rounding from above alone; other numbers to the digits that are told.
    """
    if isinstance(value, tuple):
        parts = cell.split(", ")
        return len(parts) == len(value) and all(map(tells, parts, value))
    if not isinstance(value, float) or not math.isfinite(value):
        return cell == told(value)
    try:
        number = float(cell)
    except ValueError:
        return False
    if isinstance(value, Error):
        return value <= 4 * number and (number < 1e-6 or value >= number / 4)
    return math.isclose(number, value, rel_tol=0.005, abs_tol=0.006)


def attempt(call: Callable[[], Any]) -> Any:
    """What a call gives, or the name of its error."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__
