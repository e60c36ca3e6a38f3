r"""Mean and variance over the axes of a batch by one pass over x, with a check of what it lost.

A number :math:`p` near the mean, the mean of a few elements of the slice, is known at once, and

.. math:: \delta = \langle x - p \rangle, \qquad m = p + \delta, \qquad
    v = \langle (x - p)^2 \rangle - \delta^2

needs one pass. Its difference cancels as :math:`1 + \delta^2 / v`: nothing to speak of where
:math:`p` is within the spread of the data, all of it where the sample happens to be far away. That
is seen from the result, so the pass is made again about :math:`p + \delta` where it holds for any
slice that :math:`\delta^2 > v`: for 32 elements drawn from a normal distribution a matter of 5.6
standard errors. Data in which it happens all the time (a sample of padding in each batch) takes
two passes, as the reference does always.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..arithmetic import pinned
from ..kernel import Axes, Run
from .joint_sums import joint_sums

Array = jax.Array

# How many elements of a slice its pilot mean is taken of, and the slices that are worth one.
SAMPLE = 32
LONG = 1024


def batch_moments(
    operands: Mapping[str, Any], *, axes: Axes, implementation: str | None, centred: bool
) -> Run | None:
    """The program of `moments`; none about 0, with a mask, or for short slices."""
    x = operands["x"]
    count = math.prod(x.shape[axis] for axis in axes)
    if not centred or "where" in operands or count < LONG or 0 in x.shape:
        return None
    return lambda *, x: _moments(x, axes, count)


def _moments(x: Array, axes: Axes, count: int) -> tuple[Array, ...]:
    dtype = jnp.dtype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)
    sample = _sample(x, axes).astype(dtype)
    pilot = lax.optimization_barrier(pinned(jnp.mean(sample, axes, keepdims=True)))
    moments = _about(pilot, x, axes, count)
    _, offset, variance = moments
    far = jnp.any(lax.square(offset) > variance)
    again = lambda pilot, offset: _about(pinned(pilot + offset), x, axes, count)  # noqa: E731
    mean, offset, variance = lax.cond(far, again, lambda *_: moments, pilot, offset)
    nearest = mean + offset
    return nearest, (mean - nearest) + offset, variance


def _about(pilot: Array, x: Array, axes: Axes, count: int) -> tuple[Array, Array, Array]:
    """The number given, the mean's distance from it and the variance, by one pass."""
    number = jnp.asarray(count, pilot.dtype)
    # Squares are scaled by a power of two first, so that the sum of many large ones is a number.
    small = jnp.asarray(2.0 ** -max(0, math.ceil(math.log2(count / 256) / 2)), pilot.dtype)
    deviation = x.astype(pilot.dtype) - pilot
    total, square = joint_sums((deviation, lax.square(deviation * small)), axes)
    offset = total / number
    variance = square / number / lax.square(small) - lax.square(offset)
    return pilot, offset, jnp.maximum(variance, jnp.zeros_like(variance))


def _sample(x: Array, axes: Axes) -> Array:
    """Some elements of each slice, evenly spaced along its axes, the first ones first."""
    start, strides, taken = [0] * x.ndim, [1] * x.ndim, 1
    for axis in sorted(axis + x.ndim for axis in axes):
        wanted = min(x.shape[axis], -(-SAMPLE // taken))
        strides[axis] = x.shape[axis] // wanted
        start[axis] = (x.shape[axis] - 1) % strides[axis] // 2
        taken *= wanted
    return lax.slice(x, start, x.shape, strides)
