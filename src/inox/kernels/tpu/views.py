"""Arrays as sheets of rows of channels, where what is reduced are the last axes.

On a TPU, memory is filled in tiles of 8 rows of 128 channels. The axis before the channels can be
merged with those in front of it without a copy where it is a multiple of 8, and the arrays are one
sheet. Where it isn't, in 512 images of 197 tokens, XLA lays the array out with another axis in that
place (the images) if there is one that is a multiple of 8. Rows have no order, so the same axis is
moved there; for such a layout it is no work. Elsewhere the arrays are a sheet for each index of the
axes in front.

Channels that are no multiple of 128 XLA tends to lay out with rows side by side in their place, and
to bring them in the order that a kernel needs are two passes more than the kernel saves: those are
left to the formulas unless the kernels are asked for by name. So are short sheets, which would have
to be copied.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..kernel import Axes
from .lanes import LANES

Array = jax.Array

# The rows of a tile of memory.
TILE = 8
# Of sheets of fewer rows than that a block would be mostly empty: they are merged by a copy.
SHORTEST = 16


class Rows(NamedTuple):
    """How an array is seen.

    Args:
        shape: The shape of the array.
        order: Its axes in the order of the rows.
        sizes: How many sheets there are, of how many rows, of how many channels.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    sizes: tuple[int, int, int]

    def sheets(self, array: Array) -> Array:
        """The elements of an array in (sheets, rows, channels)."""
        return jnp.transpose(jnp.broadcast_to(array, self.shape), self.order).reshape(self.sizes)

    def array(self, sheets: Array) -> Array:
        """The elements of sheets in the order and shape of the array."""
        ordered = sheets.reshape([self.shape[i] for i in self.order])
        return jnp.transpose(ordered, [int(i) for i in np.argsort(self.order)])

    def parameter(self, array: Array, axes: Axes) -> Array:
        """The elements of a parameter in (1, channels), as float32."""
        shape = [n if i - len(self.shape) in axes else 1 for i, n in enumerate(self.shape)]
        return jnp.broadcast_to(array, shape).reshape(1, self.sizes[-1]).astype(jnp.float32)

    def gradient(self, array: Array, axes: Axes, shared: Axes) -> Array:
        """What `parameter` gave, in the array's dimensions, summed over `shared` axes."""
        shape = [n if i - len(self.shape) in axes else 1 for i, n in enumerate(self.shape)]
        array = array.reshape(shape)
        rest = tuple(axis for axis in shared if array.shape[axis] > 1)
        return jnp.sum(array, rest, keepdims=True) if rest else array


def rows(
    shape: Sequence[int], axes: Axes, varying: Iterable[Sequence[bool]] = (), copied: bool = True
) -> Rows | None:
    """An array that is reduced over `axes` as rows, or None where there is no such view.

    Args:
        shape: The array's shape.
        axes: The axes of a slice, counted from the end.
        varying: For each parameter, or gradient of one, along which dimensions it varies.
        copied: Whether XLA may have to copy the array for it.
    """
    rank = len(shape)
    dimensions = [i for i, n in enumerate(shape) if n != 1]
    reduced = [i for i in dimensions if i - rank in axes]
    if 0 in shape or not reduced or dimensions[-len(reduced) :] != reduced:
        return None
    if any(flag[i] for flag in varying for i in dimensions if i not in reduced):
        return None
    kept = [i for i in range(rank) if i not in reduced]
    tiles = [i for i in kept if shape[i] != 1]
    if tiles and shape[tiles[-1]] % TILE:
        whole = [i for i in tiles if shape[i] % TILE == 0]
        if whole:
            kept.remove(whole[-1])
            kept.append(whole[-1])
            tiles.append(whole[-1])
    channels = math.prod(shape[i] for i in reduced)
    count = math.prod(shape) // channels
    last = shape[tiles[-1]] if tiles else 1
    merged = last == count or last % TILE == 0
    short = not merged and last < SHORTEST
    if not copied and (short or len(reduced) > 1 or channels % LANES):
        return None
    merged = merged or short
    sizes = (1, count, channels) if merged else (count // last, last, channels)
    return Rows(tuple(shape), (*kept, *reduced), sizes)
