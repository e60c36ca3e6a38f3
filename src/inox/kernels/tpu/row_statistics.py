r"""Mean and variance of rows in a kernel, as exact as those of the formulas.

The mean is found in two steps, :math:`m = S / n` and :math:`\delta = \langle x - m \rangle`, and
rows are centred by :math:`(x - m) - \delta`: see `functional/split_moments.py`, where the reasons
are. What differs here:

- :math:`m` is a product with the rounded reciprocal of n, since the second step makes good for it.
  It must be one number wherever it is subtracted: a compiler that contracted :math:`x - S n^{-1}`
  to one rounding in one place and not in the next would subtract two. So the product goes through
  a maximum, with which nothing is contracted.
- :math:`\delta` is a quotient rounded once (:mod:`.exact_arithmetic`). Of n equal numbers c,
  :math:`c - m` is k units in the last place, exactly; :math:`n k` is a number of few bits, of
  which any sum is exact, and its quotient by n is k. So :math:`(c - m) - \delta` is exactly 0.
- The squares of numbers up to 1e18, summed, would overflow: both factors are multiplied by a power
  of two near :math:`16 / \sqrt n` before.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .exact_arithmetic import Roots, constant, divided, divided_plainly, reciprocal_roots
from .group_lanes import GroupLanes
from .lanes import Chunk, Lanes

Array = jax.Array


class RowStatistics(NamedTuple):
    """What a kernel knows of rows, after three passes over their chunks (RMS norm: one).

    Args:
        centred: The chunks minus the mean, zero where there are no channels.
        roots: The reciprocal of the variance plus epsilon, and its root, of slices: what is used
            for their elements is to be spread.
    """

    centred: Chunk
    roots: Roots


def row_statistics(
    lanes: Lanes | GroupLanes, x: Chunk, epsilon: Array, centred: bool
) -> RowStatistics:
    """The statistics of rows.

    Args:
        lanes: The channels.
        x: The chunks in float32, zero where there are no channels.
        epsilon: A number.
        centred: Whether the mean is subtracted.
    """
    deviation = lanes.kept(x)
    if centred:
        (total,) = lanes.sums(lambda i: (deviation(i),))
        mean = jnp.maximum(
            total * constant(1 / lanes.channels), constant(float(np.finfo(np.float32).min))
        )
        deviation = _minus(lanes, deviation, lanes.spread(mean))
        (total,) = lanes.sums(lambda i, d=deviation: (d(i),))
        deviation = _minus(lanes, deviation, lanes.spread(divided(total, lanes.channels)))
    return RowStatistics(deviation, _roots(lanes, deviation, epsilon))


def _minus(lanes: Lanes | GroupLanes, x: Chunk, number: Array) -> Chunk:
    return lanes.kept(lambda i: lanes.filled(i, x(i) - number))


def _roots(lanes: Lanes | GroupLanes, deviation: Chunk, epsilon: Array) -> Roots:
    scale = 2.0 ** -max(0, math.ceil(math.log2(max(1, lanes.channels) / 256) / 2))

    def squares(i: int) -> tuple[Array]:
        d = deviation(i) if scale == 1 else deviation(i) * constant(scale)
        return (d * d,)

    (total,) = lanes.sums(squares)
    variance = divided_plainly(total, lanes.channels)
    if scale != 1:
        variance = variance * constant(scale**-2)
    return reciprocal_roots(variance + epsilon)
