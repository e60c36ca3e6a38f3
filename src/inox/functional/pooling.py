r"""Moments as they are computed with, and the pooling of those of separate parts.

.. math:: n = \sum_i n_i, \qquad m = \sum_i \frac{n_i}{n} m_i, \qquad
    v = \sum_i \frac{n_i}{n} \left( v_i + (m_i - m)^2 \right)

(Chan et al., 1983). The mean is kept as a sum of two numbers, the variance times the square of a
power of two: :mod:`.split_moments` tells why.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.arithmetic import power_near_reciprocal
from .means import masked

Array = jax.Array


class SplitMoments(NamedTuple):
    """Moments as they are computed with; all dimensions kept.

    Args:
        count: The number of elements, or the sum of their weights.
        mean: The mean, rounded.
        mean_low: What the rounding left of it: the mean is `mean + mean_low`.
        scaled: The variance times the square of `scale`.
        scale: A power of two that keeps the variance and its cotangent in range.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride] (hides tuple.count)
    mean: Array
    mean_low: Array
    scaled: Array
    scale: Array

    @property
    def var(self) -> Array:
        """The variance."""
        return (self.scaled / self.scale) / self.scale  # the square may leave the range of numbers

    def denominator(self, epsilon: Array) -> Array:
        """The variance and `epsilon` times the square of `scale`."""
        return self.scaled + (epsilon * self.scale) * self.scale


def nonzero(number: Array) -> Array:
    """A number to divide by, such as a sum of weights that may be below 1; 1 where it is none."""
    return jnp.where(number > 0, number, jnp.ones_like(number))


def pool(number: Array, mean: Array, mean_low: Array, scaled: Array, scale: Array) -> SplitMoments:
    """Pools the moments of separate parts, stacked along the first axis."""
    together = jnp.sum(number, 0)
    weight = number / nonzero(together)[None]
    # The shift is one of the means itself, so that nearly equal large means cancel exactly.
    nonempty = number > 0
    # The least number stands for none: an infinity of ours would stop `jax_debug_infs`.
    least = jnp.full_like(mean, jnp.finfo(mean.dtype).min)
    shift = jnp.max(jnp.where(nonempty, mean, least), 0)
    shift = lax.stop_gradient(jnp.where(jnp.any(nonempty, 0), shift, jnp.zeros_like(shift)))
    offset = masked((mean - shift[None]) + mean_low, nonempty)
    pooled_mean = shift + jnp.sum(weight * offset, 0)
    offset = masked((mean - pooled_mean[None]) + mean_low, nonempty)
    pooled_low = jnp.sum(weight * offset, 0)
    offset = offset - pooled_low[None]
    # A scale for what is in the parts and what is between them: the square of neither overflows.
    farthest = jnp.max(jnp.abs(masked(offset, nonempty)), 0)
    common = lax.stop_gradient(jnp.minimum(jnp.min(scale, 0), power_near_reciprocal(farthest)))
    between = offset * common[None]
    within = scaled * lax.square(common[None] / scale)
    pooled_scaled = jnp.sum(weight * masked(within + lax.square(between), nonempty), 0)
    return SplitMoments(together, pooled_mean, pooled_low, pooled_scaled, common)
