"""Groups of positions of a mapped axis, each pooled by itself: checks of the argument.

Every message names the argument, what was found and the cure.
"""

from collections.abc import Hashable, Sequence
from typing import Any

from ..kernels.mapped_axes import IndexGroups, axis_size
from .arguments import AxisName, check_axis_name
from .array_arguments import described
from .scalar_arguments import integer

ArgumentGroups = Sequence[Sequence[int]] | None
EXAMPLE = "For two groups of two positions write axis_index_groups=((0, 1), (2, 3))."


def static_index_groups(groups: Any, axis_name: AxisName) -> IndexGroups:
    """Groups as tuples, checked as far as can be where the axis is not bound."""
    if groups is None:
        return None
    names = check_axis_name(axis_name)
    if len(names) != 1:
        raise ValueError(
            "axis_index_groups needs an axis_name, one alone, whose positions are grouped; found "
            f"axis_name={axis_name!r}. Name it, axis_name='devices', or leave the groups out."
        )
    try:
        listed = tuple(tuple(integer(item) for item in group) for group in groups)
    except TypeError:
        raise TypeError(
            "axis_index_groups must be a sequence of sequences of integers; found "
            f"{described(groups)}. {EXAMPLE}"
        ) from None
    positions = sorted(position for group in listed for position in group)
    if not positions or not all(listed) or positions != list(range(len(positions))):
        raise ValueError(
            "axis_index_groups must hold each position of the axis, 0, 1 and so on, once, and no "
            f"empty group; found {listed!r}. {EXAMPLE}"
        )
    return listed


def bound_index_groups(groups: Any, axis_name: AxisName, names: Sequence[Hashable]) -> IndexGroups:
    """Groups as tuples, which hold all positions of the one mapped axis of `names`."""
    listed = static_index_groups(groups, axis_name)
    if listed is None:
        return None
    held, size = sum(map(len, listed)), axis_size(names[0])
    if held != size:
        raise ValueError(
            f"axis_index_groups must hold all positions of {axis_name!r}, which has {size}; found "
            f"{held} in {listed!r}. A position that is pooled with no other is a group of its own."
        )
    return listed
