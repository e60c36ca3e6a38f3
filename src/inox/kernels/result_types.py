"""Types of results that follow from those of the operands: no trace of a reference is needed.

Each function gives None where that isn't so: under `vmap` over a parameter alone, for example,
the result is larger than x.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from .jax_internals import type_like
from .kernel import Axes


def spans(x: Any, types: Mapping[str, Any]) -> bool:
    """Whether `x` has the shape that all operands have together."""
    return all(
        n in (full, 1)
        for other in types.values()
        for n, full in zip(other.shape, x.shape, strict=True)
    )


def same_as(name: str, types: Mapping[str, Any]) -> Any | None:
    """The type of a result like the operand `name`."""
    x = types[name]
    return type_like(x, x.shape, x.dtype) if spans(x, types) else None


def reduced(name: str, types: Mapping[str, Any], axes: Axes, dtype: Any) -> Any | None:
    """The type of a result like the operand `name`, of size 1 along `axes`."""
    x = types[name]
    if not spans(x, types):
        return None
    shape = tuple(1 if i - len(x.shape) in axes else n for i, n in enumerate(x.shape))
    return type_like(x, shape, dtype)


def all_known(types: Iterable[Any | None]) -> tuple[Any, ...] | None:
    """The types, or None where one isn't known."""
    found = tuple(types)
    return None if any(one is None for one in found) else found
