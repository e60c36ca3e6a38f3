"""Sums and means along axes: the one place that decides how numbers are added up."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
Axes = tuple[int, ...]


class Reduction(NamedTuple):
    """Over what a sum runs, and what carries it out.

    Args:
        axes: The axes, counted from the end.
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.
    """

    axes: Axes
    implementation: str | None = None


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which statistics of `dtype` are computed: float32, or float64 for float64."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


# How many numbers XLA adds up one after the other on CPU; from here on it uses parallel lanes.
FEW = 4096
# How many numbers are in a fast cache, so that adding them in pairs costs next to nothing.
SOME = 2**17


def total(x: Array, axes: Axes) -> Array:
    """The sum of `x` over `axes` (negative), dimensions kept with size 1.

    The sum of many numbers along the last axes XLA takes well on CPU: it errs by 2 ulp for a
    million terms of one sign. Few numbers it adds one after the other (35 ulp for 264 equal ones),
    and many too, if a kept axis lies between the last one and the others (20 ulp for random terms,
    230 for equal ones): these are added in pairs. Along other axes its error is 2 ulp for random
    and 5 for equal terms; adding in pairs would be below 2, but takes nearly twice as long, so
    only some are.
    """
    if not axes:
        return x
    trailing = set(axes) == set(range(-len(axes), 0))
    if 0 < x.size < FEW or (not trailing and (-1 in axes or 0 < x.size < SOME)):
        return _pairwise_total(x, axes)
    return jnp.sum(x, axes, keepdims=True)


def _pairwise_total(x: Array, axes: Axes, parts: int = 16) -> Array:
    """The sum in pairs: an axis is cut in 16 parts, which are added up as a tree; then again."""
    if x.size == 0:
        return jnp.sum(x, axes, keepdims=True)
    for axis in sorted(a + x.ndim for a in axes):
        while (length := x.shape[axis]) > 1:
            count = min(parts, length)
            part = -(-length // count)
            if part * count > length:  # zeros change no sum
                zeros = part * count - length
                x = jnp.pad(x, [(0, zeros if i == axis else 0) for i in range(x.ndim)])
            tree = [lax.slice_in_dim(x, i * part, (i + 1) * part, axis=axis) for i in range(count)]
            while len(tree) > 1:
                pairs = [a + b for a, b in zip(tree[::2], tree[1::2], strict=False)]
                tree = pairs + tree[2 * len(pairs) :]
            # Each round is carried out before the next, or all would be one large expression.
            x = lax.optimization_barrier(tree[0])
    return x


def size(shape: Sequence[int], axes: Axes) -> int:
    """How many elements of `shape` lie along `axes`."""
    return math.prod(shape[axis] for axis in axes)


def count(shape: Sequence[int], axes: Axes, where: Array | None, dtype: np.dtype) -> Array:
    """How many elements of an array of `shape` take part along `axes`: dimensions kept.

    Without a mask the result has size 1 in every dimension; with one, the mask's kept sizes.
    """
    if where is None:
        # Hidden from the compiler, which turns a division by a constant into a multiplication
        # with its rounded reciprocal.
        number = jnp.full((1,) * len(shape), size(shape, axes), dtype)
        return lax.optimization_barrier(number)
    # Summed as integers: float32 would stop counting at 2**24.
    counted = jnp.sum(where, axes, dtype=jnp.int32, keepdims=True).astype(dtype)
    repeated = math.prod(shape[axis] for axis in axes if where.shape[axis] == 1)
    return counted * jnp.asarray(repeated, dtype)


def average(x: Array, axes: Axes, number: Array) -> Array:
    """The mean of `x` over `axes`, `number` being the count (0 gives 0)."""
    return _divided(total(x, axes), number)


def _divided(total: Array, number: Array) -> Array:
    """A true division: XLA would multiply by the rounded reciprocal of one divisor for all.

    A slice of equal numbers depends on it. What is left of them after the first mean is a number of
    few bits, of which any sum is exact, so that the second mean is exactly that number.
    """
    divisor = jnp.maximum(number, jnp.ones_like(number)) * jnp.ones_like(total)
    # The second barrier: (a / b) / c must not become a / (b c), which may overflow.
    return lax.optimization_barrier(total / lax.optimization_barrier(divisor))


def settled(x: Array) -> Array:
    """`x` rounded to one bit less, so that it is the same number wherever it is used.

    XLA may compute a mean again in every kernel that subtracts it, whatever barriers say, and there
    contract the division and the subtraction to one rounding. Another mean is then subtracted from
    x than the one whose rounding error is corrected later, which with a mean of 1e7 spreads leaves
    noise. A rounding that is asked for can't be contracted away.
    """
    information = jnp.finfo(x.dtype)
    return lax.reduce_precision(x, information.nexp, information.nmant - 1)


def mean_square(x: Array, axes: Axes, number: Array) -> Array:
    """The mean of the squares of `x` over `axes`, free of overflow for |x| up to 1e18.

    The sum of n squares is largest where it is not yet divided by n. Scaled by a power of two
    near 16 / sqrt(n), which is exact, it stays below 256 times the largest square.
    """
    largest = size(x.shape, axes)
    scale = 2.0 ** -max(0, math.ceil(math.log2(max(1, largest) / 256) / 2))
    if scale == 1:
        return average(lax.square(x), axes, number)
    scaled = x * jnp.asarray(scale, x.dtype)
    return _divided(total(lax.square(scaled), axes), number) / jnp.asarray(scale**2, x.dtype)


def masked(x: Array, where: Array | None) -> Array:
    """`x` where the mask holds and 0 elsewhere, whatever `x` holds there."""
    return x if where is None else jnp.where(where, x, jnp.zeros_like(x))
