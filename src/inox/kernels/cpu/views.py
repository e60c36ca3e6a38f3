"""Every operation on slices as one on an array of five dimensions, (P, N, M, G, C).

A slice is what M and C span; there is one for each (p, n, g). The parameters have shape (P, G, C)
and are shared along N and M. For example

- layer norm over the last axis: N rows of C;
- group norm, per position: N positions of G groups of C channels;
- group norm, over the image: N images of M positions, in each G groups of C channels;
- instance norm, batch norm: N images (or 1) of M positions of G channels, C = 1;
- a scale and bias per sample: P samples.

Dimensions are merged, never permuted: what has no such view is left to XLA. The kernels get the
elements in their order in memory, and the five sizes beside them.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..kernel import Axes

Array = jax.Array

# A letter a dimension: reduced (r) or not (k), in capitals where the parameters vary along it.
_PATTERN = re.compile("^(?P<P>K*)(?P<N>k*)(?P<M>r*)(?P<G>[kK]*)(?P<C>[rR]*)$")


class View(NamedTuple):
    """Which dimensions of an array make up which of the five.

    Args:
        shape: The shape of the array.
        blocks: For each of P, N, M, G, C the dimensions (from the front) that it merges.
    """

    shape: tuple[int, ...]
    blocks: tuple[tuple[int, ...], ...]

    def sizes(self, letters: str = "PNMGC") -> tuple[int, ...]:
        """The sizes of some of the five."""
        merged = dict(zip("PNMGC", self.blocks, strict=True))
        return tuple(math.prod(self.shape[i] for i in merged[letter]) for letter in letters)

    def parameter(self, array: Array) -> Array:
        """The elements of a parameter, of (P, G, C) or of (G, C)."""
        target = [1] * len(self.shape)
        front, _, _, *last = self.blocks
        shared = all(array.shape[i] == 1 for i in front)
        for block in (() if shared else front, *last):
            for i in block:
                target[i] = self.shape[i]
        return jnp.broadcast_to(array, target).reshape(-1)

    def takes(self, mask: tuple[int, ...]) -> bool:
        """Whether a mask of this shape varies along P and N alone: it leaves out whole samples."""
        front, inner, *_ = self.blocks
        return all(n == 1 or i in (*front, *inner) for i, n in enumerate(mask))

    def mask(self, array: Array) -> Array:
        """The elements of such a mask, of (P, N)."""
        front, inner, *_ = self.blocks
        target = [n if i in (*front, *inner) else 1 for i, n in enumerate(self.shape)]
        return jnp.broadcast_to(array, target).reshape(-1)

    def gradient(self, array: Array, shared: Axes) -> Array:
        """The elements of (P, G, C) in the array's dimensions, summed over `shared` axes."""
        front, _, _, *last = self.blocks
        kept = {*front, *last[0], *last[1]}
        array = array.reshape([n if i in kept else 1 for i, n in enumerate(self.shape)])
        axes = tuple(axis for axis in shared if array.shape[axis] > 1)
        return jnp.sum(array, axes, keepdims=True) if axes else array


def _repeated(letters: str) -> str:
    """The letters with parameters that vary along all dimensions before the one they vary along."""
    kept = len(letters) - len(letters.lstrip("k"))
    return letters[:kept].upper() + letters[kept:]


def view(shape: Sequence[int], axes: Axes, varying: Iterable[Sequence[bool]] = ()) -> View | None:
    """The view of an array that is reduced over `axes`, or None where there is none.

    Args:
        shape: The array's shape.
        axes: The axes of a slice, counted from the end.
        varying: For each parameter, or gradient of one, along which dimensions it varies.
    """
    flags = tuple(varying)
    dimensions = [i for i, n in enumerate(shape) if n != 1]
    letters = ""
    for i in dimensions:
        letter = "r" if i - len(shape) in axes else "k"
        letters += letter.upper() if any(flag[i] for flag in flags) else letter
    # Parameters that differ by sample and are shared by what `vmap` put in front are repeated.
    match = _PATTERN.match(letters) or _PATTERN.match(_repeated(letters))
    if match is None or 0 in shape:
        return None
    blocks = [tuple(dimensions[slice(*match.span(name))]) for name in "PNMGC"]
    if not blocks[3] and not blocks[4]:  # rows are contiguous: their length is C
        blocks[2], blocks[4] = (), blocks[2]
    return View(tuple(shape), tuple(blocks))
