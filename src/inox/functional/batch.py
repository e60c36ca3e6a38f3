r"""Batch norm: moments over all axes but the channels, then an elementwise map.

The sums over the batch are kept apart from the elementwise part, because they are what crosses
devices, and because XLA fuses the elementwise part with the activation and the residual that
follow. The derivative of the whole is that of :mod:`.normalize` with sums over the mapped axes
too; it is put together from the tangents of the moments, of :math:`r`, and of the affine map,
so that the two contributions to the gradient of x meet in the dtype of the statistics and are
rounded to a half type once.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.implementation import check_implementation
from .affine import AFFINE_TANGENT, affine
from .arguments import (
    ArrayLike,
    AxisName,
    affine_operand,
    bound_names,
    epsilon_operand,
    floating,
    mask_operand,
)
from .moments import (
    Moments,
    SplitMoments,
    moment_tangents,
    public_moments,
    split_moments,
)
from .normalize import present
from .reciprocal_root import reciprocal_root
from .reductions import Reduction, accumulator

Array = jax.Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _batch_normalize(
    reduction: Reduction,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
) -> tuple[Array, SplitMoments]:
    """Normalizes by the statistics of the batch; operands have the rank of `x`."""
    moments = split_moments(x, where, reduction)
    rstd = reciprocal_root(moments.var + epsilon)
    mean, residual = moments.mean, moments.residual
    y = affine(reduction.implementation, x, mean, residual, rstd, scale, bias, where)
    return y, moments


@functools.partial(_batch_normalize.defjvp, symbolic_zeros=True)
def _derivative(reduction: Reduction, primals: Any, tangents: Any) -> Any:
    x, epsilon, scale, _, where = primals
    x_tangent, epsilon_tangent, scale_tangent, bias_tangent, _ = map(present, tangents)
    y, moments = _batch_normalize(reduction, *primals)
    number, mean, residual, var = moments
    mean_tangent, var_tangent = jnp.zeros_like(mean), jnp.zeros_like(var)
    if x_tangent is not None:
        x_tangent = x_tangent.astype(mean.dtype)
        mean_tangent, var_tangent = moment_tangents(x_tangent, x, where, moments, reduction)
    rstd, rstd_tangent = jax.jvp(
        reciprocal_root,
        (var + epsilon,),
        (var_tangent if epsilon_tangent is None else var_tangent + epsilon_tangent,),
    )
    (y_tangent,) = AFFINE_TANGENT(
        {"implementation": reduction.implementation},
        x_tangent=x_tangent,
        mean_tangent=None if x_tangent is None else mean_tangent,
        rstd_tangent=rstd_tangent,
        scale_tangent=scale_tangent,
        bias_tangent=bias_tangent,
        x=x,
        mean=mean,
        residual=residual,
        rstd=rstd,
        scale=scale,
        where=where,
    )
    zeros = jnp.zeros_like(mean)
    return (y, moments), (
        y_tangent,
        SplitMoments(jnp.zeros_like(number), mean_tangent, zeros, var_tangent),
    )


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
        statistics: Mean and variance to use instead of the batch's, with shape :math:`(C)` each.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance.
        where: A boolean mask, broadcastable to `x`, of the elements that take part; the output
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
    scale = affine_operand(scale, x, "scale", dtype)
    bias = affine_operand(bias, x, "bias", dtype)
    mask = mask_operand(where, x)
    epsilon = epsilon_operand(epsilon, x, dtype)
    names = bound_names(axis_name)
    axes = tuple(range(-x.ndim, -1))
    if statistics is None:
        y, (number, mean, residual, var) = _batch_normalize(
            Reduction(axes, names, implementation), x, epsilon, scale, bias, mask
        )
        return y, public_moments(number, mean + residual, var, axes)
    mean, var = (
        _channel_statistic(value, x, name, dtype)
        for value, name in zip(statistics, ("mean", "var"), strict=True)
    )
    rstd = reciprocal_root(var + epsilon)
    y = affine(implementation, x, mean, jnp.zeros_like(mean), rstd, scale, bias, mask)
    return y, public_moments(jnp.zeros_like(mean), mean, var, axes)


def _channel_statistic(value: ArrayLike, x: Array, name: str, dtype: Any) -> Array:
    statistic = floating(value, f"statistics {name}")
    if statistic.shape != x.shape[-1:]:
        raise ValueError(
            f"statistics {name} must have one value a channel, shape {x.shape[-1:]} for x of shape "
            f"{x.shape}; found shape {statistic.shape}."
        )
    return jnp.reshape(statistic, (1,) * (x.ndim - 1) + statistic.shape).astype(dtype)
