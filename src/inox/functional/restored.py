"""A named tuple that storage gave back as another container: how it becomes one again."""

from collections.abc import Mapping
from typing import Any


def cure_of_restored(value: Any, kind: Any, name: str) -> str | None:
    """What to write where a container has the fields of the named tuple `kind`; None elsewhere."""
    stars = ""
    if isinstance(value, Mapping):
        stars = "**" if set(value) == set(kind._fields) else ""
    elif isinstance(value, (tuple, list)):
        stars = "*" if len(value) == len(kind._fields) else ""
    if not stars:
        return None
    return (
        f"It has the fields of one, as what a checkpoint gives back may: write {kind.__name__}("
        f"{stars}{name})."
    )
