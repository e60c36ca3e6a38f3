"""A difference between a framework's layer and ours under its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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


def told(value: Any) -> str:
    """A measured value in a few characters."""
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def attempt(call: Callable[[], Any]) -> Any:
    """What a call gives, or the name of its error."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__
