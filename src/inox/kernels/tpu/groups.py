"""Short slices side by side in the lanes: channels in groups, of which each row has many.

Group norm hands channels on as (groups, channels of a group). In that order of memory a group of 8
would be filled up to 128 lanes, so arrays are seen as channels again, and a kernel adds up within
the groups of a register.

That an array is one of groups is told by the parameters: those of group norm are other ones for
each group. Of heads, which share theirs, it is not known that they are neighbours in memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..kernel import Axes, Run
from .lanes import LANES

Array = jax.Array
Outputs = tuple[tuple[str, Axes], ...]


def group_size(shape: Sequence[int], axes: Axes, varying: Sequence[Sequence[bool]]) -> int:
    """How many channels a group has; 0 where slices are no groups that a kernel knows.

    Args:
        shape: The shape of all operands together.
        axes: The axes of a slice, counted from the end.
        varying: For each parameter, or gradient of one, along which dimensions it varies.
    """
    if len(shape) < 3 or axes != (-1,) or not varying:
        return 0
    groups, size = shape[-2:]
    # A power of two: so many rotations add up a group, and no group is cut by registers.
    if size < 2 or size >= LANES or size & (size - 1) or groups * size % LANES:
        return 0
    return size if all(flags[-2] and flags[-1] for flags in varying) else 0


def merged_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """(..., G, K) as (..., G K)."""
    return (*shape[:-2], shape[-2] * shape[-1])


def merged_types(operands: Mapping[str, Any]) -> dict[str, Any]:
    """The shapes and dtypes of operands whose groups are seen as channels."""
    return {
        name: jax.ShapeDtypeStruct(merged_shape(operand.shape), operand.dtype)
        for name, operand in operands.items()
    }


def merged_outputs(outputs: Outputs) -> Outputs:
    """The axes over which gradients are summed, counted without the one that is gone."""
    return tuple((name, tuple(axis + 1 for axis in shared)) for name, shared in outputs)


def on_merged(run: Run | None, shape: Sequence[int]) -> Run | None:
    """What runs on channels as what runs on groups."""
    if run is None:
        return None

    def on_groups(**operands: Array) -> tuple[Array, ...]:
        merged = {name: jnp.reshape(a, merged_shape(a.shape)) for name, a in operands.items()}
        return tuple(a.reshape(*a.shape[:-1], *shape[-2:]) for a in run(**merged))

    return on_groups
