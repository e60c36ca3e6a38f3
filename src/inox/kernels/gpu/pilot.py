r"""Mean and variance of a slice by one pass over x, with a check of what that lost.

A number :math:`p` near the mean, the mean of a few elements of the slice, is known at once, and

.. math:: \delta = \langle x - p \rangle, \qquad m = p + \delta, \qquad
    v = \langle (x - p)^2 \rangle - \delta^2

needs one pass. The difference cancels as :math:`1 + 2 \delta^2 / v`: nothing to speak of where
:math:`p` is within the spread of the data, all of it where the sample happens to be far away. That
is seen from the result, so the pass is made again about :math:`p + \delta` if any slice has
:math:`\delta^2 > v`: with 32 elements of a normal distribution a matter of 5.6 standard errors.
Data in which that happens all the time (a sample of padding in each batch) takes one pass more, as
many as where the mean is found first. Equal numbers are among them: the second pass is about the
number nearest to their mean, which is themselves, so that their deviation is exactly 0.

RMS norm has the same without a mean: :math:`p = \delta = 0`, and nothing to repeat.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..arithmetic import (
    accumulator,
    pinned,
    power_near_reciprocal_root,
    reciprocal_root_near_one,
    scale_of_squares,
)
from ..kernel import Axes
from .joint_sums import joint_sums

Array = jax.Array

# How many elements of a slice its pilot is the mean of.
SAMPLE = 32


class Slices(NamedTuple):
    """What is known of slices; dimensions kept with size 1.

    Args:
        pilot: A number near the mean.
        offset: The mean minus the pilot.
        variance: The variance, or the mean square about 0.
        of_g: The mean of g, where it was asked for.
        of_product: The mean of g times the deviation from the mean.
    """

    pilot: Array
    offset: Array
    variance: Array
    of_g: Array | None = None
    of_product: Array | None = None

    def deviation(self, x: Array) -> Array:
        """`x` minus the mean."""
        return (x.astype(self.pilot.dtype) - self.pilot) - self.offset

    def reciprocal_deviation(self, epsilon: Array) -> tuple[Array, Array, Array]:
        """The reciprocal standard deviation; a power of two near it; the scaled denominator.

        As `functional/standardized.py`: 0 for equal numbers with epsilon 0, NaN for an overflow.
        """
        power = power_near_reciprocal_root(self.variance + epsilon)
        denominator = (self.variance * power) * power + (epsilon * power) * power
        zero = denominator == jnp.zeros_like(denominator)
        denominator = jnp.where(zero, jnp.ones_like(denominator), denominator)
        root = reciprocal_root_near_one(denominator) * power + (denominator - denominator)
        return jnp.where(zero, jnp.zeros_like(root), root), power, denominator


def slices(
    x: Array,
    axes: Axes,
    dy: Array | None = None,
    scale: Array | None = None,
    *,
    centred: bool,
) -> Slices:
    """The moments of slices; with `dy`, also the means that the gradient needs, of g = dy scale."""
    dtype = accumulator(x.dtype)
    if not centred:
        zero = jnp.zeros([1 if i - x.ndim in axes else n for i, n in enumerate(x.shape)], dtype)
        return _about(zero, x, axes, dy, scale, centred=False)
    sample = _sample(x, axes).astype(dtype)
    pilot = pinned(jnp.mean(sample, axes, keepdims=True))
    found = _about(pilot, x, axes, dy, scale, centred=True)
    far = jnp.any(lax.square(found.offset) > found.variance)

    def again() -> Slices:
        return _about(pilot + pinned(found.offset), x, axes, dy, scale, centred=True)

    return lax.cond(far, again, lambda: found)


def _about(
    pilot: Array, x: Array, axes: Axes, dy: Array | None, scale: Array | None, *, centred: bool
) -> Slices:
    """One pass, about a given number."""
    count = math.prod(x.shape[axis] for axis in axes)
    number = jnp.asarray(count, pilot.dtype)
    small = jnp.asarray(scale_of_squares(count), pilot.dtype)
    deviation = x.astype(pilot.dtype) - pilot
    terms = [lax.square(deviation * small)]
    terms += [deviation] if centred else []
    if dy is not None:
        g = dy.astype(pilot.dtype)
        g = g if scale is None else g * scale
        terms += [g * deviation, g] if centred else [g * deviation]
    means = [total / number for total in joint_sums(terms, axes)]
    square = means.pop(0) / lax.square(small)
    offset = means.pop(0) if centred else jnp.zeros_like(square)
    variance = jnp.maximum(square - lax.square(offset), jnp.zeros_like(square))
    if dy is None:
        return Slices(pilot, offset, variance)
    of_product = means.pop(0)
    of_g = means.pop(0) if centred else jnp.zeros_like(square)
    return Slices(pilot, offset, variance, of_g, of_product - offset * of_g)


def _sample(x: Array, axes: Axes) -> Array:
    """Some elements of each slice: evenly spaced along leading axes, first ones of a row."""
    start, stop, strides, taken = [0] * x.ndim, list(x.shape), [1] * x.ndim, 1
    for axis in sorted(axis + x.ndim for axis in axes):
        wanted = min(x.shape[axis], -(-SAMPLE // taken))
        if axis == x.ndim - 1:  # neighbours, which are read together
            stop[axis] = wanted
        else:
            strides[axis] = x.shape[axis] // wanted
            start[axis] = (x.shape[axis] - 1) % strides[axis] // 2
            stop[axis] = start[axis] + (wanted - 1) * strides[axis] + 1
        taken *= wanted
    return lax.slice(x, start, stop, strides)
