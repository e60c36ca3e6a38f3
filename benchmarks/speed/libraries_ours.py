"""This package, as functions (x, *parameters) -> y."""

from collections.abc import Callable
from typing import Any

from .cells import EPSILON, Cell

IMAGE_AXES = (-3, -2, -1)


def norm(cell: Cell, implementation: str | None) -> Callable[..., Any]:
    """The norm of a cell; without parameters where none are given."""
    from inox import functional

    settings: dict[str, Any] = {"epsilon": EPSILON, "implementation": implementation}

    def batch(x: Any, *parameters: Any) -> Any:
        return functional.batch_norm(x, *parameters, **settings)[0]

    def rms(x: Any, *parameters: Any) -> Any:
        return functional.rms_norm(x, *parameters, **settings)

    def group(x: Any, *parameters: Any) -> Any:
        axis = IMAGE_AXES if cell.kind == "group" else -1
        return functional.group_norm(x, cell.groups, *parameters, axis=axis, **settings)

    functions = {
        "layer": lambda x, *parameters: functional.layer_norm(x, *parameters, **settings),
        "rms": rms,
        "heads": rms,
        "batch": batch,
        "group": group,
        "position": group,
    }
    return functions[cell.kind]


def best(cell: Cell) -> Callable[..., Any]:
    """What a user gets: the best implementation of the platform."""
    return norm(cell, None)


def xla(cell: Cell) -> Callable[..., Any]:
    """The pure-JAX path."""
    return norm(cell, "xla")
