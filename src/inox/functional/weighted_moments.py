r"""Moments of elements that count by weights: exact where the mean is large, with their derivative.

.. math:: n = \sum_i w_i, \qquad m = \frac{1}{n} \sum_i w_i x_i, \qquad
    v = \frac{1}{n} \sum_i w_i (x_i - m)^2

**The formula** is that of :mod:`.split_moments` under a mask, which is the case of weights 0 and 1:
a first mean, what it has left over, the number nearest to both, and the variance about that. One
thing is done besides. A slice of equal numbers must have deviations of exactly 0, and a weighted
mean of equal numbers rounds to one beside them; but it lies between the least and the largest of
them, to which the first mean is limited. Elements of weight 0 are left out as by a mask, and may
hold anything. The weights of a slice are multiplied by a power of two that brings the largest near
1, so that products with them stay in the range of numbers.

**The derivative** is that of :mod:`.split_moments` with weighted means, and in the weights

.. math:: \dot n = \sum_i \dot w_i, \qquad
    \dot m = \frac{1}{n} \sum_i \dot w_i (x_i - m), \qquad
    \dot v = \frac{1}{n} \sum_i \dot w_i \left( (x_i - m)^2 - v \right)

also for a weight of 0, of an element that a mask does not leave out. A negative weight, which
nobody can refuse under `jit`, counts as 0 and has no derivative. The weights are multiplied by the
power of two here as well: a cotangent divided by a large sum of weights would underflow before it
is multiplied by a weight.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.arithmetic import (
    power_near_reciprocal,
    power_near_reciprocal_root,
    scale_of_squares,
)
from ..kernels.explicit_sharding import alike
from .means import Reduction, masked, size, total_weight
from .normalize import known_nonzero
from .pooling import SplitMoments, nonzero
from .split_moments import Upcast, centre
from .sums import is_number, sum_along

Array = jax.Array


def taking_part(weights: Array, where: Array | None) -> Array:
    """Which elements count: a mask says nothing else, and the weight is not 0.

    NaN for a weight takes part, so that it shows.
    """
    weighty = ~(weights <= 0)
    return weighty if where is None else weighty & where


def without_nonfinite(x: Array, weights: Array, where: Array | None) -> Array:
    """`x` with 0 for what a mask leaves out, and for NaN and infinities of weight 0.

    These are normalized as well, by moments that they have no part in: as NaN they would reach
    the gradient of a scale.
    """
    return masked(masked(x, ~(weights <= 0) | jnp.isfinite(x)), where)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def weighted_moments(
    upcast: Upcast,
    weights: Array,
    where: Array | None,
    epsilon: Array | None,
    reduction: Reduction,
) -> SplitMoments:
    """The moments of an array along axes, of elements with weights; differentiable in both.

    Args:
        upcast: The array.
        weights: Numbers from 0 on, with the rank of the array.
        where: The mask, or None.
        epsilon: What will be added to the variance, for the choice of the scale.
        reduction: The axes.
    """
    axes, there = reduction.axes, taking_part(weights, where)
    x = masked(upcast.x.astype(weights.dtype), there)
    weights = masked(weights, there)
    power = _power_of(weights, axes)
    weights = weights * power
    total = total_weight(weights, x.shape, axes)
    number = nonzero(total)

    def mean_of(terms: Array) -> Array:
        return sum_along(weights * terms, axes) / number

    least, largest = (
        found(jnp.where(there, x, jnp.full_like(x, -start)), axes, keepdims=True, initial=-start)
        for found, start in ((jnp.min, -_largest(x)), (jnp.max, _largest(x)))
    )
    first = jnp.clip(mean_of(x), least, largest)
    rest = mean_of(masked(x - first, there))
    mean = first + rest
    mean_low = (first - mean) + rest
    deviation = masked(x - mean, there)
    elements = size(x.shape, axes)
    small = jnp.asarray(scale_of_squares(elements if is_number(elements) else 2**20), x.dtype)
    var = mean_of(lax.square(deviation * small)) / lax.square(small) - lax.square(mean_low)
    var = jnp.maximum(var, jnp.zeros_like(var))
    empty, total, mean, mean_low, var, power = alike(
        *jnp.broadcast_arrays(total <= 0, total, mean, mean_low, var, power)
    )
    mean, mean_low, var = (jnp.where(empty, jnp.zeros_like(a), a) for a in (mean, mean_low, var))
    square = jnp.maximum(var, jnp.ones_like(var)) if epsilon is None else var + epsilon
    scale = power_near_reciprocal_root(square)
    return SplitMoments(total / power, mean, mean_low, (var * scale) * scale, scale)


def _power_of(weights: Array, axes: tuple[int, ...]) -> Array:
    """A power of two that brings the largest weight of each slice near 1."""
    largest = jnp.max(lax.stop_gradient(weights), axes, keepdims=True, initial=0)
    return power_near_reciprocal(largest)


def _largest(x: Array) -> float:
    """The largest number of the dtype: an infinity of ours would stop `jax_debug_infs`."""
    return float(jnp.finfo(x.dtype).max)


@functools.partial(weighted_moments.defjvp, symbolic_zeros=True)
def _derivative(
    reduction: Reduction, primals: Any, tangents: Any
) -> tuple[SplitMoments, SplitMoments]:
    upcast, weights, where, epsilon = primals
    x_tangent, weights_tangent = known_nonzero(tangents[0].wide), known_nonzero(tangents[1])
    moments = weighted_moments(upcast, weights, where, epsilon, reduction)
    axes, scale = reduction.axes, lax.stop_gradient(moments.scale)
    # Weights of 0 are not left out: they have second derivatives, beside the tangent of x.
    there = ~(weights < 0) if where is None else ~(weights < 0) & where
    weights = masked(weights, there)
    power = _power_of(weights, axes)
    weights = weights * power
    number = nonzero(total_weight(weights, upcast.x.shape, axes))
    of_count, of_mean, of_scaled = (jnp.zeros_like(moments.mean) for _ in range(3))
    deviation = centre(upcast.x, moments.mean, moments.mean_low, where)
    if x_tangent is not None:
        t = weights * masked(x_tangent * scale, where)
        of_mean = of_mean + sum_along(t, axes) / number / scale
        of_scaled = of_scaled + 2 * (sum_along(t * deviation, axes) / number * scale)
    if weights_tangent is not None:
        t = jnp.broadcast_to(masked(weights_tangent, there), deviation.shape)
        spread = lax.square(deviation * scale) - moments.scaled
        of_count = of_count + sum_along(t, axes)
        t = t * power
        of_mean = of_mean + sum_along(t * deviation, axes) / number
        of_scaled = of_scaled + sum_along(t * masked(spread, where), axes) / number
    return moments, SplitMoments(
        count=of_count,
        mean=of_mean,
        mean_low=jnp.zeros_like(moments.mean_low),
        scaled=of_scaled,
        scale=jnp.zeros_like(scale),
    )
