"""Sums and means along axes: the one place that decides how numbers are added up."""

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

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
        names: The mapped axes (`vmap`, `shard_map`) that are summed over as well.
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.
    """

    axes: Axes
    names: tuple[Hashable, ...] = ()
    implementation: str | None = None

    def static(self) -> dict[str, Any]:
        """What an operation on one device needs to know."""
        return {"axes": self.axes, "implementation": self.implementation}


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which statistics of `dtype` are computed: float32, or float64 for float64."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


# Sums of fewer numbers than this are taken an axis at a time; the exact number is of no import.
FEW = 2**15


def total(x: Array, axes: Axes) -> Array:
    """The sum of `x` over `axes` (negative), dimensions kept with size 1.

    XLA on CPU adds up one axis in a balanced way: the error stays below 2 ulp for a million terms
    of one sign. Of several axes it adds up all numbers in one accumulator if they are few, or if
    a kept axis lies between the last one and the others: 6 to 30 ulp. There the sum is taken in
    stages, which are kept from being merged again. Where the numbers are many this is faster, too.
    """
    if not axes:
        return x
    if len(axes) > 1 and x.size < FEW:
        stages = [(axis,) for axis in sorted(axes, reverse=True)]
    else:
        major = tuple(axis for axis in axes if axis != -1)
        between = major and any(axis not in axes for axis in range(max(major) + 1, 0))
        stages = [major, (-1,)] if -1 in axes and between else [axes]
    for stage in stages[:-1]:
        x = lax.optimization_barrier(jnp.sum(x, stage, keepdims=True))
    return jnp.sum(x, stages[-1], keepdims=True)


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
    return total(x, axes) / jnp.maximum(number, jnp.ones_like(number))


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
    divisor = jnp.maximum(number, jnp.ones_like(number)) * jnp.asarray(scale**2, x.dtype)
    return total(lax.square(scaled), axes) / divisor


def masked(x: Array, where: Array | None) -> Array:
    """`x` where the mask holds and 0 elsewhere, whatever `x` holds there."""
    return x if where is None else jnp.where(where, x, jnp.zeros_like(x))
