"""The channels of some rows, 128 lanes at a time, and sums over them in a fixed order.

A strip of rows is worked on in chunks of (rows, 128), which are whole registers. What is known of
a row, its mean for example, is held in all 128 lanes, so that nothing is ever broadcast.

**The order of a sum** depends on the number of channels alone, not on how many rows there are or
where they stand: so the results of a row are the same bits in every batch. Up to 16 chunks are
added in pairs; more of them in groups of 16, whose sums are added with their rounding errors kept
(two numbers). The 128 lanes are added in pairs by seven rotations. There are at most 4 + 1 + 7
roundings between a term and its sum, however long the row is. (A rotation by half the period
gives both halves the same sum, as a + b and b + a are the same bits, so all lanes agree.)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..arithmetic import two_sum
from ..jax_internals import pallas

Array = jax.Array

LANES = 128
# How many chunks are added in pairs, and stand as code one after the other.
GROUP = 16
# Of how many chunks a kernel keeps the numbers in registers, rather than computing them again.
KEPT = 16

# A chunk by its number, as an array of (rows, 128).
Chunk = Callable[[Any], Array]


class Lanes(NamedTuple):
    """How many channels there are.

    Args:
        channels: The number of elements of a row.
    """

    channels: int

    @property
    def chunks(self) -> int:
        """How many chunks hold them, the last of which may be filled in part."""
        return -(-self.channels // LANES)

    def at(self, chunk: Any) -> Any:
        """The index of a chunk in the last axis of an array."""
        pl, _ = pallas()
        if isinstance(chunk, int):
            return pl.ds(chunk * LANES, LANES)
        return pl.ds(pl.multiple_of(chunk * LANES, LANES), LANES)

    def filled(self, chunk: Any, array: Array) -> Array:
        """A chunk with zeros where there are no channels."""
        rest = self.channels % LANES
        if rest == 0 or not isinstance(chunk, int) or chunk < self.chunks - 1:
            return array
        lane = lax.broadcasted_iota(jnp.int32, array.shape, 1)
        return jnp.where(lane < rest, array, jnp.zeros_like(array))

    def kept(self, chunk: Chunk) -> Chunk:
        """The same chunks, computed once where there are few."""
        if self.chunks > KEPT:
            return chunk
        values = [chunk(i) for i in range(self.chunks)]
        return lambda i: values[i]

    def each(self, do: Callable[[Any], None]) -> None:
        """Does something with each chunk."""
        looped = self._looped()
        if looped:

            def group(i: Any, _: Any) -> None:
                for j in range(GROUP):
                    do(i * GROUP + j)

            lax.fori_loop(0, looped, group, None)
        for chunk in range(looped * GROUP, self.chunks):
            do(chunk)

    def sums(self, terms: Callable[[Any], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Sums over all channels, in every lane.

        Args:
            terms: For each chunk, a term of each sum.
        """
        looped = self._looped()
        rest = _sums_of(terms, range(looped * GROUP, self.chunks))
        if not looped:
            return tuple(map(over_lanes, rest))

        def group(i: Any, pairs: Any) -> Any:
            sums = _sums_of(terms, [i * GROUP + j for j in range(GROUP)])
            return _added(pairs, sums)

        pairs = tuple((one, jnp.zeros_like(one)) for one in rest)
        pairs = lax.fori_loop(0, looped, group, pairs)
        return tuple(over_lanes(high + low) for high, low in pairs)

    def spread(self, of_slice: Array) -> Array:
        """What is known of slices, for each of their elements: sums are in every lane."""
        return of_slice

    def _looped(self) -> int:
        """How many whole groups are a loop; the last chunk never is."""
        return 0 if self.chunks <= 2 * GROUP else (self.chunks - 1) // GROUP


def _sums_of(terms: Callable[[Any], tuple[Array, ...]], chunks: Sequence[Any]) -> tuple[Array, ...]:
    return tuple(map(in_pairs, zip(*map(terms, chunks), strict=True)))


def _added(pairs: Any, sums: tuple[Array, ...]) -> Any:
    """Sums with the sum of their rounding errors, and other sums, added."""
    found: list[tuple[Array, Array]] = []
    for (high, low), one in zip(pairs, sums, strict=True):
        total, error = two_sum(high, one)
        found.append((total, low + error))
    return tuple(found)


def in_pairs(arrays: Sequence[Array]) -> Array:
    """The sum of some arrays as a tree."""
    tree = list(arrays)
    while len(tree) > 1:
        pairs = [a + b for a, b in zip(tree[::2], tree[1::2], strict=False)]
        tree = pairs + tree[2 * len(pairs) :]
    return tree[0]


def over_lanes(array: Array) -> Array:
    """The sum of the lanes, in each of them."""
    _, pltpu = pallas()
    shift = LANES // 2
    while shift:
        array = array + pltpu.roll(array, shift, 1)
        shift //= 2
    return array
