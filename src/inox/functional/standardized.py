"""A standardized array in the parts that the formulas and their derivatives are made of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.arithmetic import accumulator
from .guarded import levelled, times_power
from .means import Number, Reduction, count, masked
from .reciprocal_root import quotient, reciprocal_root_near_one
from .split_moments import centre, split_moments, upcasting

Array = jax.Array


class Standardized(NamedTuple):
    """`x` standardized over axes, in parts.

    Args:
        deviation: x minus the mean, 0 where masked.
        rstd: The reciprocal standard deviation, 0 for a slice of equal numbers with epsilon 0.
        denominator: The variance plus epsilon, times the square of `scale`; 1 where it is 0.
        scale: A power of two near `rstd` (:class:`.pooling.SplitMoments`).
        count: How many elements take part.
        where: Which do; None for all.
        factor: What the deviation is multiplied with: `rstd`, but 0 for a slice of equal numbers.
    """

    deviation: Array
    rstd: Array
    denominator: Array
    scale: Array
    count: Number  # pyright: ignore[reportIncompatibleMethodOverride] (hides tuple.count)
    where: Array | None
    factor: Array

    @property
    def xhat(self) -> Array:
        """The standardized array."""
        return masked(self.deviation * self.factor, self.where)


def standardized(
    x: Array, epsilon: Array, where: Array | None, reduction: Reduction
) -> Standardized:
    """The centred `x` and its reciprocal standard deviation."""
    number = count(x.shape, reduction.axes, where, accumulator(x.dtype))
    moments = split_moments(upcasting(x), where, epsilon, reduction)
    deviation = centre(x, moments.mean, moments.mean_low, where)
    rstd, denominator = reciprocal_deviation(moments.denominator(epsilon), moments.scale)
    factor = rstd
    if reduction.centred:
        factor = levelled(rstd, moments.scaled, moments.mean * moments.scale)
    return Standardized(deviation, rstd, denominator, moments.scale, number, where, factor)


def projected(t: Array, standard: Standardized, of_t: Array | None, of_product: Array) -> Array:
    """The self-adjoint map P of :mod:`.normalize`, times r.

    Args:
        t: What is mapped.
        standard: The slices.
        of_t: The mean of `t` over a slice; None where nothing is centred.
        of_product: The mean of `t` times the deviation.
    """
    along = quotient(of_product * standard.scale, standard.denominator) * standard.scale
    t = t if of_t is None else t - of_t
    return masked(standard.rstd * (t - standard.deviation * along), standard.where)


def epsilon_factor(rstd: Array) -> Array:
    """The derivative of the reciprocal deviation in epsilon, over that deviation."""
    return jnp.asarray(-0.5, rstd.dtype) * (rstd * rstd)


def reciprocal_deviation(denominator: Array, scale: Array) -> tuple[Array, Array]:
    """The reciprocal standard deviation, and a denominator that nothing is divided by 0 with.

    Equal numbers with epsilon 0 have deviations and a variance of exactly 0. Their standardized
    values are taken as 0, and so is their derivative: what epsilon above 0 tends to for values
    that are equal. It is what a slice gives of which nothing takes part, and what the kernels do.

    A variance that overflows (a spread beyond 1e18 in float32) gives NaN: its reciprocal root
    would be 0, and what is standardized by it 0 without a word.
    """
    zero = denominator == jnp.zeros_like(denominator)
    denominator = jnp.where(zero, jnp.ones_like(denominator), denominator)
    overflow = lax.stop_gradient(denominator - denominator)  # 0, or NaN for infinity
    rstd = times_power(reciprocal_root_near_one(denominator), scale) + overflow
    return jnp.where(zero, jnp.zeros_like(rstd), rstd), denominator
