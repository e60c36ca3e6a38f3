r"""Running statistics that take part: moved by the batch they normalize, or freed of their start.

**Moved by the batch.** Some layers normalize a training batch by the running statistics that it has
just moved, :math:`\hat s = \alpha \hat s + (1 - \alpha) s`, and differentiate through them. The new
mean is kept as the batch's own plus a correction,

.. math:: \hat m = m + \alpha (\hat m_\text{old} - m)

in two numbers, as :math:`x - m` is exact where the mean is large against the spread.

**Freed of their start.** After t batches the value that a running statistic started from still has
the weight :math:`\alpha^t`, and all batches together the rest:

.. math:: s = \frac{\hat s - \alpha^t \hat s_0}{1 - \alpha^t}
"""

import math

import jax
import jax.numpy as jnp

from ..functional.batch import batch_moments, given_moments, normalized
from ..functional.batch_arguments import checked_batch
from ..functional.moments import Moments, public_moments
from ..functional.pooling import SplitMoments
from ..kernels.arithmetic import accumulator
from ..kernels.explicit_sharding import alike
from .core import Over, normalize_batch, normalize_by

Array = jax.Array


def normalize_moving(
    over: Over,
    x: Array,
    mean: Array,
    var: Array,
    momentum: float,
    first: Array,
    scale: Array | None = None,
    bias: Array | None = None,
) -> tuple[Array, Moments]:
    """`x` by running statistics that it has moved itself, scaled and shifted.

    A batch of fewer than two elements a channel moves nothing.

    Args:
        over: Over what.
        x: The input, real or complex.
        mean: The running mean before, with the axes that remain.
        var: The running variance, likewise.
        momentum: The weight of the old.
        first: A scalar, whether there are no old ones: then the batch's own are taken.
        scale: What it is multiplied by, broadcast from the right; None for 1.
        bias: What is added, broadcast from the right; None for 0.

    Returns:
        The output, with the shape and dtype of `x`, and the moved statistics with the batch's
        count; gradients flow through both.
    """
    if jnp.iscomplexobj(x):
        _, own = normalize_batch(over, x)
        kept = _weight_of_old(own.count, momentum, first)
        moments = Moments(own.count, _between(own.mean, mean, kept), _between(own.var, var, kept))
        return normalize_by(over, x, moments.mean, moments.var, scale, bias), moments
    batch = checked_batch(
        x,
        scale,
        bias,
        axis=over.axes,
        epsilon=over.epsilon,
        axis_name=over.axis_name,
        axis_index_groups=over.index_groups,
    )
    own, old = batch_moments(batch), given_moments(batch, (mean, var))
    kept = _weight_of_old(own.count, momentum, first)
    kept, offset = alike(kept, (old.mean - own.mean) - own.mean_low)
    correction = kept * jnp.where(kept > 0, offset, jnp.zeros_like(offset))
    moved = SplitMoments(
        own.count,
        # The lower number is a constant to derivatives, and this difference 0: the derivative of
        # the correction is that of the upper one.
        own.mean + (correction - jax.lax.stop_gradient(correction)),
        own.mean_low + jax.lax.stop_gradient(correction),
        _between(own.scaled, (old.var * own.scale) * own.scale, kept),
        own.scale,
    )
    return normalized(batch, moved), public_moments(moved, batch.axes)


def without_start(mean: Array, var: Array, momentum: float, count: Array) -> tuple[Array, Array]:
    """Running statistics that started from mean 0 and variance 1, without these.

    Args:
        mean: The running mean.
        var: The running variance.
        momentum: The weight of the old in each step.
        count: How many batches have moved them; with 0 they stay as they are.

    Returns:
        The mean and variance of the batches alone, in float32 or float64.

    Example:
        >>> after_one = jnp.full(1, 0.99 * 0 + 0.01 * 5), jnp.full(1, 0.99 * 1 + 0.01 * 2)
        >>> mean, var = without_start(*after_one, 0.99, jnp.asarray(1))
        >>> print(mean.round(4), var.round(4))
        [5.] [2.]
    """
    wide = accumulator(var.dtype)
    mean, var = mean if jnp.iscomplexobj(mean) else mean.astype(wide), var.astype(wide)
    if momentum == 1:  # they never move
        return mean, var
    steps = jnp.maximum(count, jnp.ones_like(count)).astype(wide)
    # The logarithm is exact to float64: 1 - 0.99 ** t is off by 6e-6 of itself at t = 1.
    power = steps * jnp.asarray(math.log(momentum) if momentum else -math.inf, wide)
    left, rest = jnp.exp(power), -jnp.expm1(power)
    there = count > jnp.zeros_like(count)
    own_var = jnp.maximum((var - left) / rest, jnp.zeros_like(var))
    own_mean = mean / rest.astype(mean.dtype)
    return jnp.where(there, own_mean, mean), jnp.where(there, own_var, var)


def _weight_of_old(count: Array, momentum: float, first: Array) -> Array:
    one = jnp.ones_like(count)
    weight = jnp.where(count > one, jnp.full_like(one, momentum), one)
    return jnp.where(first, jnp.zeros_like(one), weight)


def _between(new: Array, old: Array, weight: Array) -> Array:
    """`new` moved towards `old`; no NaN of an old value that has no weight."""
    weight, new, old = alike(weight, new, old.astype(new.dtype))
    offset = jnp.where(weight > jnp.zeros_like(weight), old - new, jnp.zeros_like(new))
    return new + weight.astype(new.dtype) * offset
