"""Counts and means along axes, and what guards their accuracy from the compiler."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .summation import total

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
