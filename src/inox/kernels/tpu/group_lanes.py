r"""Groups of channels within the lanes of a register, and sums over them in a fixed order.

A group of K channels, a power of two, is added up in :math:`\log_2 K` rounds: each lane gets the
number of the lane whose place differs from its own in one binary digit. That is two rotations and a
choice, and rotations are what a TPU has least of. So while there are several registers of rows, a
round takes two of them at a time and keeps the sums of one in the lanes whose digit is 0, those of
the other where it is 1: half as many rotations in each round, and what is then made of the sums, a
reciprocal root for one, is computed for as many groups at once as have room in a register. To use
the results (:meth:`GroupLanes.spread`) the same rounds are gone through backwards.

A sum is the same tree of additions wherever its row stands, as a + b and b + a are the same bits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..jax_internals import pallas
from .column_sums import SUBLANES
from .lanes import LANES, Chunk, Lanes

Array = jax.Array


class GroupLanes(NamedTuple):
    """The groups of a chunk, as :class:`.lanes.Lanes` are the lanes of a row.

    Args:
        channels: The number of channels of a group, a power of two below 128.
        rows: How many rows a chunk has.
    """

    channels: int
    rows: int

    def filled(self, chunk: Any, array: Array) -> Array:
        """The chunk, which has channels in all lanes."""
        return array

    def kept(self, chunk: Chunk) -> Chunk:
        """The same, computed once."""
        value = chunk(0)
        return lambda _: value

    def each(self, do: Callable[[Any], None]) -> None:
        """Does something with the chunk."""
        do(0)

    def sums(self, terms: Callable[[Any], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Sums over each group, of several rows in a register."""
        return tuple(map(self._sum, terms(0)))

    def _sum(self, array: Array) -> Array:
        joined = self._joined()
        shift = self.channels // 2
        while shift:
            first = _first(array, shift)
            if shift in joined:
                half = array.shape[0] // 2
                low, high = array[:half], array[half:]
                first = first[:half]
                kept, sent = jnp.where(first, low, high), jnp.where(first, high, low)
                array = kept + _exchanged(sent, first, shift)
            else:
                array = array + _exchanged(array, first, shift)
            shift //= 2
        return array

    def spread(self, of_group: Array) -> Array:
        """What is known of groups, in the lanes of their channels."""
        for shift in reversed(self._joined()):
            first = _first(of_group, shift)
            other = _exchanged(of_group, first, shift)
            halves = jnp.where(first, of_group, other), jnp.where(first, other, of_group)
            of_group = jnp.concatenate(halves, 0)
        return of_group

    def _joined(self) -> list[int]:
        """The rounds in which two registers become one, by the distance of lanes."""
        rows, shift, joined = self.rows, self.channels // 2, []
        while shift and rows % (2 * SUBLANES) == 0:
            joined.append(shift)
            rows, shift = rows // 2, shift // 2
        return joined


def each_slice(
    lanes: Lanes,
    group: int,
    rows: int,
    do: Callable[[Lanes | GroupLanes, Callable[[Any], Any]], None],
) -> None:
    """Does something with each slice of rows: with all of a row, or the groups of each chunk.

    Args:
        lanes: The channels of a row.
        group: How many channels a group has; 0 for all of them.
        rows: How many rows a strip has.
        do: `(the lanes of a slice, from its chunks to those of the row)`.
    """
    if group:
        lanes.each(lambda chunk: do(GroupLanes(group, rows), lambda _: chunk))
    else:
        do(lanes, lambda chunk: chunk)


def _first(array: Array, shift: int) -> Array:
    """The lanes whose place has a 0 in one binary digit."""
    return lax.broadcasted_iota(jnp.int32, array.shape, 1) & shift == 0


def _exchanged(array: Array, first: Array, shift: int) -> Array:
    """For each lane the number of the one whose place differs in that digit."""
    _, pltpu = pallas()
    return jnp.where(first, pltpu.roll(array, LANES - shift, 1), pltpu.roll(array, shift, 1))
