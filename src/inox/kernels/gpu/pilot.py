"""The moments of slices by one pass about a pilot mean, as XLA's compiler for GPUs does it best."""

import jax
from jax import lax

from ..kernel import Axes
from ..pilot import SAMPLE, Slices, about, no_pilot, once_more, pilot_of, spaced
from .joint_sums import joint_sums

Array = jax.Array


def slices(
    x: Array,
    axes: Axes,
    dy: Array | None = None,
    scale: Array | None = None,
    *,
    centred: bool,
) -> Slices:
    """The moments of slices; with `dy`, also the means that the gradient needs, of g = dy scale."""
    if not centred:
        zero = no_pilot(x, axes)
        return about(zero, x, axes, dy, scale, centred=False, sums=joint_sums)

    def moments(pilot: Array) -> Slices:
        return about(pilot, x, axes, dy, scale, centred=True, sums=joint_sums)

    return once_more(moments, moments(pilot_of(_sample(x, axes), axes)))


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
