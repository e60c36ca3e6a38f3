"""The moments of slices by one pass about a pilot mean, as XLA's compiler for GPUs does it best."""

import functools
import operator
from collections.abc import Callable

import jax
import numpy as np
from jax import lax

from ..kernel import Axes
from ..pilot import SAMPLE, Slices, about, is_far, nearer, no_pilot, pilot_of, spaced
from .joint_sums import joint_sums

Array = jax.Array

# The shortest slice that is worth a pilot, and two steps.
SHORT = 64


def summed(parts: tuple[Array, ...], dtype: np.dtype) -> Array:
    """The sum of one array or of several, in that dtype."""
    return functools.reduce(operator.add, (part.astype(dtype) for part in parts))


def slices(
    parts: tuple[Array, ...],
    axes: Axes,
    dy: Array | None = None,
    scale: Array | None = None,
    *,
    centred: bool,
    dtype: np.dtype,
) -> Slices:
    """The moments of slices; with `dy`, also the means that the gradient needs, of g = dy scale.

    Of a sum by its parts: what a loop is given, as the one below, is written to memory.
    """

    def moments(pilot: Array) -> Slices:
        x = summed(parts, dtype)
        return about(pilot, x, axes, dy, scale, centred=centred, sums=joint_sums)

    if not centred:
        return moments(no_pilot(parts[0], axes).astype(dtype))
    sample = summed(tuple(_sample(part, axes) for part in parts), dtype)
    return _once_more(moments, moments(pilot_of(sample, axes)))


def _once_more(moments: Callable[[Array], Slices], found: Slices) -> Slices:
    """`found`, or where a pilot was no good, the moments about the nearer ones.

    A loop of one round or none: it replaces its arrays where they lie, while of a choice between
    two branches XLA copies what one of them passes on, a kernel for each array.
    """

    def again(state: tuple[Array, Slices]) -> tuple[Array, Slices]:
        far, found = state
        return far ^ far, moments(nearer(found))

    return lax.while_loop(lambda state: state[0], again, (is_far(found), found))[1]


def _sample(x: Array, axes: Axes) -> Array:
    """Some elements of each slice: evenly spaced along leading axes, first ones of a row."""
    start, stop, strides, taken = [0] * x.ndim, list(x.shape), [1] * x.ndim, 1
    for axis in sorted(axis + x.ndim for axis in axes):
        wanted = min(x.shape[axis], -(-SAMPLE // taken))
        if axis == x.ndim - 1:  # neighbours, which are read together
            stop[axis] = wanted
        else:
            start[axis], stop[axis], strides[axis] = spaced(x.shape[axis], wanted)
        taken *= wanted
    return lax.slice(x, start, stop, strides)
