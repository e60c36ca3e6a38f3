"""Counts and means along axes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..kernels.arithmetic import scale_of_squares
from ..kernels.kernel import Axes
from .guarded import divided
from .sums import is_number, sum_along

Array = jax.Array
# A count: known while tracing, or computed from a mask.
Number = Array | np.ndarray


class Reduction(NamedTuple):
    """Over what a sum runs, and what carries it out.

    Args:
        axes: The axes, counted from the end.
        centred: Whether the variance is about the mean, or (RMS norm) about 0.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.
    """

    axes: Axes
    centred: bool = True
    implementation: str | None = None


def size(shape: Sequence[int], axes: Axes) -> int:
    """How many elements of `shape` lie along `axes`; a symbol where a dimension is one."""
    return math.prod(shape[axis] for axis in axes)


def count(shape: Sequence[int], axes: Axes, where: Array | None, dtype: np.dtype) -> Number:
    """How many elements of an array of `shape` take part along `axes`: dimensions kept.

    Without a mask the result is known while tracing, and has size 1 in every dimension; with one,
    it has the mask's kept sizes.
    """
    if where is None:
        elements, kept = size(shape, axes), (1,) * len(shape)
        if is_number(elements):
            return np.full(kept, elements, dtype)
        return jnp.full(kept, _product([shape[axis] for axis in axes], dtype))
    repeated = _product([shape[axis] for axis in axes if where.shape[axis] == 1], dtype)
    return _number_of_true(where, axes, dtype) * repeated


def total_weight(weights: Array, shape: Sequence[int], axes: Axes) -> Array:
    """The sum over `axes` of weights that broadcast to `shape`: dimensions kept."""
    repeated = [shape[axis] for axis in axes if weights.shape[axis] == 1]
    return sum_along(weights, axes) * _product(repeated, weights.dtype)


def _product(lengths: Sequence[int], dtype: np.dtype) -> Array:
    """The product of lengths: of symbols as floating-point numbers, as int32 would overflow."""
    known = math.prod(length for length in lengths if is_number(length))
    symbols = [jnp.asarray(length).astype(dtype) for length in lengths if not is_number(length)]
    return math.prod(symbols, start=jnp.asarray(known, dtype))


def _number_of_true(
    where: Array, axes: Axes, dtype: np.dtype, most: int = np.iinfo(np.int32).max
) -> Array:
    """How many elements of a mask are True along `axes`, rounded once.

    Counted as int32, in parts of at most `most` elements: float32 would stop counting at 2**24.
    The counts of several parts are added up in two halves of their digits, which stay below 2**31
    up to 2**46 elements.
    """
    parts = _parts(where, axes, most)
    counts = [jnp.sum(part, axes, dtype=jnp.int32, keepdims=True) for part in parts]
    if len(counts) == 1:
        return counts[0].astype(dtype)
    number = jnp.stack(counts)
    low = jnp.sum(number & 0xFFFF, 0, dtype=jnp.int32)
    high = jnp.sum(number >> 16, 0, dtype=jnp.int32) + (low >> 16)
    return high.astype(dtype) * jnp.asarray(2**16, dtype) + (low & 0xFFFF).astype(dtype)


def _parts(where: Array, axes: Axes, most: int) -> list[Array]:
    """A mask cut along `axes` until no part has more than `most` elements along them."""
    elements = size(where.shape, axes)
    if not is_number(elements) or elements <= most:
        return [where]
    axis = max(axes, key=lambda axis: where.shape[axis]) + where.ndim
    length = where.shape[axis]
    cuts = (0, length // 2), (length // 2, length)
    halves = [lax.slice_in_dim(where, start, end, axis=axis) for start, end in cuts]
    return [part for half in halves for part in _parts(half, axes, most)]


def mean_along(x: Array, axes: Axes, number: Number) -> Array:
    """The mean of `x` over `axes`, `number` being the count (0 gives 0)."""
    return divided(sum_along(x, axes), number)


def mean_square(x: Array, axes: Axes, number: Number) -> Array:
    """The mean of the squares of `x` over `axes`, free of overflow for |x| up to 1e18."""
    largest = size(x.shape, axes)
    if not is_number(largest):  # as for a million
        largest = 2**20
    scale = scale_of_squares(largest)
    if scale == 1:
        return mean_along(lax.square(x), axes, number)
    scaled = x * jnp.asarray(scale, x.dtype)
    return divided(sum_along(lax.square(scaled), axes), number) / jnp.asarray(scale**2, x.dtype)


def masked(x: Array, where: Array | None) -> Array:
    """`x` where the mask holds and 0 elsewhere, whatever `x` holds there."""
    return x if where is None else jnp.where(where, x, jnp.zeros_like(x))
