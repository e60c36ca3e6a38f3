"""Arrays as rows of channels, where what is reduced are the last axes.

Dimensions are merged, never permuted. On a TPU, rows are merged without a copy where the axis
before the channels is a multiple of 8 (16 for half types), as memory is filled in such tiles.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Axes = tuple[int, ...]


class Rows(NamedTuple):
    """An array as a matrix.

    Args:
        shape: The shape of the array.
        rows: How many slices there are.
        channels: How many elements a slice has.
    """

    shape: tuple[int, ...]
    rows: int
    channels: int

    def matrix(self, array: Array) -> Array:
        """The elements of an array in (rows, channels)."""
        return jnp.broadcast_to(array, self.shape).reshape(self.rows, self.channels)

    def parameter(self, array: Array, axes: Axes) -> Array:
        """The elements of a parameter in (1, channels), as float32."""
        shape = [n if i - len(self.shape) in axes else 1 for i, n in enumerate(self.shape)]
        return jnp.broadcast_to(array, shape).reshape(1, self.channels).astype(jnp.float32)

    def gradient(self, array: Array, axes: Axes, shared: Axes) -> Array:
        """What `parameter` gave, in the array's dimensions, summed over `shared` axes."""
        shape = [n if i - len(self.shape) in axes else 1 for i, n in enumerate(self.shape)]
        array = array.reshape(shape)
        rest = tuple(axis for axis in shared if array.shape[axis] > 1)
        return jnp.sum(array, rest, keepdims=True) if rest else array


def rows(shape: Sequence[int], axes: Axes, varying: Iterable[Sequence[bool]] = ()) -> Rows | None:
    """An array that is reduced over `axes` as rows, or None where they are not its last.

    Args:
        shape: The array's shape.
        axes: The axes of a slice, counted from the end.
        varying: For each parameter, or gradient of one, along which dimensions it varies.
    """
    rank = len(shape)
    dimensions = [i for i, n in enumerate(shape) if n != 1]
    reduced = [i for i in dimensions if i - rank in axes]
    if 0 in shape or not reduced or dimensions[-len(reduced) :] != reduced:
        return None
    if any(flag[i] for flag in varying for i in dimensions if i not in reduced):
        return None
    channels = math.prod(shape[i] for i in reduced)
    return Rows(tuple(shape), math.prod(shape) // channels, channels)
