"""Short slices side by side in the lanes: channels in groups, of which each row has many.

Group norm hands channels on as (groups, 1, channels of a group). In that order of memory a group of
8 would be filled up to 128 lanes, so arrays are seen as channels again, and a kernel adds up within
the groups of a register.

The axis of size 1, and parameters for each group, tell them from heads, of which it is not known
that they are neighbours in memory. Where a product has made them, as a rule they are not, and to
see them as channels takes 12 passes over x. By name they are groups all the same, with a scale for
each.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..kernel import Axes, Outputs, Run
from .lanes import LANES

Array = jax.Array


class Groups(NamedTuple):
    """How many channels a group has, and how many axes are merged to see groups as channels."""

    size: int
    axes: int

    def merged_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(..., G, 1, K) or (..., G, K) as (..., G K)."""
        return (*shape[: -self.axes], math.prod(shape[-self.axes :]))

    def merged_types(self, operands: Mapping[str, Any]) -> dict[str, Any]:
        """The shapes and dtypes of operands whose groups are seen as channels."""
        return {
            name: jax.ShapeDtypeStruct(self.merged_shape(operand.shape), operand.dtype)
            for name, operand in operands.items()
        }

    def merged_outputs(self, outputs: Outputs) -> Outputs:
        """The axes over which gradients are summed, counted without those that are gone."""
        gone = self.axes - 1
        return tuple(
            (name, tuple(axis + gone for axis in shared if axis < -self.axes))
            for name, shared in outputs
        )

    def on_merged(self, run: Run, shape: Sequence[int]) -> Run:
        """What runs on channels as what runs on groups."""

        def on_groups(**operands: Array) -> tuple[Array, ...]:
            merged = {
                name: jnp.reshape(array, self.merged_shape(array.shape))
                for name, array in operands.items()
            }
            last = shape[-self.axes :]
            return tuple(a.reshape(*a.shape[:-1], *last) for a in run(**merged))

        return on_groups


def groups_of(
    shape: Sequence[int], axes: Axes, varying: Sequence[Sequence[bool]], *, copied: bool
) -> Groups | None:
    """The groups that slices are; None where they are none that a kernel knows.

    Args:
        shape: The shape of all operands together.
        axes: The axes of a slice, counted from the end.
        varying: For each parameter, or gradient of one, along which dimensions it varies.
        copied: Whether heads count as groups, to see which as channels they may have to be copied.
    """
    if axes != (-1,) or not varying:  # of one head, (B, L, 1, D), the positions would be groups
        return None
    if len(shape) > 3 and shape[-2] == 1:
        number = 3
    elif copied and len(shape) > 2:
        number = 2
    else:
        return None
    groups, size = shape[-number], shape[-1]
    # A power of two: so many rotations add up a group, and no group is cut by registers.
    if size < 2 or size >= LANES or size & (size - 1) or groups * size % LANES:
        return None
    own = all(flags[-number] and flags[-1] for flags in varying)
    return Groups(size, number) if own else None
