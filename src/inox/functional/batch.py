r"""Batch norm: moments over all axes but the channels, then an elementwise map.

The sums over the batch are kept apart from the elementwise part, because they are what crosses
devices, and because XLA fuses the elementwise part with the activation and the residual that
follow. The derivative of the whole is put together by JAX from those of the moments, of their
pooling, of :math:`r` and of the affine map. The contributions to the gradient of x meet in the
dtype of the statistics (:class:`.split_moments.Upcast`) and are rounded to a half type once.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.backends import check_implementation
from ..kernels.jax_internals import vary_over
from .arguments import (
    ArrayLike,
    AxisName,
    affine_array,
    affine_operand,
    bound_names,
    check_epsilon,
    epsilon_operand,
    floating,
    mask_operand,
    statistic_operand,
)
from .given_statistics import affine
from .means import Reduction, accumulator
from .moments import Moments, pooled_moments, public_moments
from .pooling import SplitMoments
from .reciprocal_root import reciprocal_root
from .split_moments import upcasting
from .standardized import reciprocal_deviation

Array = jax.Array


def batch_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    statistics: tuple[ArrayLike, ArrayLike] | None = None,
    epsilon: float | Array = 1e-05,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
    implementation: str | None = None,
) -> tuple[Array, Moments]:
    r"""Normalizes each channel by its mean and variance over the batch and spatial axes.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Args:
        x: The input, with shape :math:`(N, *, C)`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right.
        bias: The bias :math:`\beta`, broadcast against `x` from the right.
        statistics: A pair of mean and variance, with shape :math:`(C)` each, or moments, to use
            instead of the batch's.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        axis_name: Names of mapped axes (`vmap`, `shard_map`) to pool over as well, by count.
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`, and the moments of the batch, with shape
        :math:`(C)`, in float32 (float64 for float64 input). Given `statistics`, the moments are
        those, with count 0.

    Raises:
        TypeError: If `x` is complex or `where` isn't boolean.
        ValueError: If `x` has no batch axis, an operand does not broadcast to it, epsilon is
            negative, `axis_name` is not bound or the implementation not there.

    Example:
        >>> x = jax.numpy.array([[1.0, 10.0], [3.0, 30.0]])
        >>> y, moments = batch_norm(x)
        >>> print(moments.mean, moments.var)
        [ 2. 20.] [  1. 100.]

    References:
        | Batch Normalization: Accelerating Deep Network Training (Ioffe & Szegedy, 2015)
        | https://arxiv.org/abs/1502.03167
    """
    check_implementation(implementation)
    x = floating(x)
    if x.ndim < 2:
        raise ValueError(
            f"x must have a batch axis and a channel axis, (N, *, C); found shape {x.shape}. For "
            "a single sample add an axis: x[None]."
        )
    dtype = accumulator(x.dtype)
    mask = mask_operand(where, x)
    check_epsilon(epsilon, dtype)
    gamma = affine_operand(affine_array(scale, x, "scale"), x, dtype, mask)
    beta = affine_operand(affine_array(bias, x, "bias"), x, dtype, mask)
    constant = epsilon_operand(epsilon, x, dtype)
    names = bound_names(axis_name)
    axes = tuple(range(-x.ndim, -1))
    upcast = upcasting(x)
    if statistics is None:
        reduction = Reduction(axes, implementation=implementation)
        moments = pooled_moments(upcast, mask, constant, reduction, names)
        used = moments
        if names:
            # Marked as varying together, so that the backward pass sums their gradients over the
            # devices in one collective.
            parts = vary_over(jnp.stack(moments[1:]), frozenset(names))
            used = SplitMoments(moments.count, *parts)
    else:
        mean, var = (
            statistic_operand(value, x, name, dtype)
            for value, name in zip(_mean_and_var(statistics), ("mean", "var"), strict=True)
        )
        zero = jnp.zeros_like(mean)
        used = moments = SplitMoments(zero, mean, zero, var, jnp.ones_like(mean))
    denominator = used.denominator(constant)
    if statistics is None:
        rstd, _ = reciprocal_deviation(denominator, used.scale)
    else:  # where they are 0 and epsilon, too, what is not equal to the mean is infinitely far away
        rstd = reciprocal_root(denominator) * used.scale
    y = affine(implementation, upcast, used.mean, used.mean_low, rstd, gamma, beta, mask)
    return y, public_moments(moments, axes)


def _mean_and_var(statistics: Any) -> tuple[Any, Any]:
    """Mean and variance of a pair, or of Moments."""
    if isinstance(statistics, Moments):
        return statistics.mean, statistics.var
    if not isinstance(statistics, (tuple, list)) or len(statistics) != 2:
        raise TypeError(
            f"statistics must be a pair (mean, var); found {type(statistics).__name__}. Pass "
            "state[layer.stats], or statistics=(mean, var)."
        )
    return statistics[0], statistics[1]
