r"""Batch norm: moments over all axes but the channels, then an elementwise map.

The sums over the batch are kept apart from the elementwise part, because they are what crosses
devices, and because XLA fuses the elementwise part with the activation and the residual that
follow. The derivative of the whole is put together by JAX from those of the moments, of their
pooling, of :math:`r` and of the affine map. The contributions to the gradient of x meet in the
dtype of the statistics (:class:`.split_moments.Upcast`) and are rounded to a half type once.

:func:`batch_norm` is three steps, which a layer that needs what lies between takes one by one: the
arguments checked (:mod:`.batch_arguments`), their moments (:func:`batch_moments` or
:func:`given_moments`) and what these make of the batch (:func:`normalized`).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.arithmetic import accumulator
from ..kernels.explicit_sharding import alike
from .arguments import AxisName, statistic_operand
from .array_arguments import ArrayLike
from .batch_arguments import Batch, checked_batch, compiled, mean_and_var
from .device_group_arguments import ArgumentGroups
from .given_statistics import affine
from .mapped_moments import as_varying, pooled_moments, weighty_elements
from .means import masked
from .moments import Moments, public_moments
from .pooling import SplitMoments
from .reciprocal_root import reciprocal_root
from .standardized import reciprocal_deviation

Array = jax.Array


def batch_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] | None = None,
    statistics: tuple[ArrayLike, ArrayLike] | None = None,
    epsilon: float | Array = 1e-05,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    axis_name: AxisName = None,
    axis_index_groups: ArgumentGroups = None,
    implementation: str | None = None,
) -> tuple[Array, Moments]:
    r"""Normalizes each channel by its mean and variance over the batch and spatial axes.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Args:
        x: The input, with shape :math:`(N, *, C)`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right.
        bias: The bias :math:`\beta`, broadcast against `x` from the right.
        axis: The axes over which mean and variance are calculated: None for all but the last,
            (0, 2, 3) for images with their channels first. What is left is :math:`C` below.
        statistics: A pair of mean and variance, with shape :math:`(C)` each, to use instead of the
            batch's: moments, or an entry of a state in whatever container a checkpoint left it.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        weights: How much each element counts in mean and variance: numbers from 0 on with the rank
            of `x`, of its sizes or 1; None for 1. An element of weight 0 is normalized as all
            others are, but a NaN or infinity there counts as 0.
        axis_name: Names of mapped axes (`vmap`, `shard_map`) to pool over as well, by count.
        axis_index_groups: Groups of positions of the one mapped axis, ((0, 1), (2, 3)) for example,
            of which each is pooled by itself; None for all together.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`, and the moments of the batch, with shape
        :math:`(C)`, in float32 (float64 for float64 input); their count is the sum of the weights.
        Given `statistics`, the moments are those, with count 0.

    Raises:
        TypeError: If `x` is complex, `where` isn't boolean or `weights` are.
        ValueError: If `x` has no batch axis, an axis is out of range or repeated, an operand does
            not broadcast to it, epsilon or a weight is negative, `axis_name` is not bound, the
            groups do not hold each of its positions once, or the implementation is not there.

    Example:
        >>> x = jax.numpy.array([[1.0, 10.0], [3.0, 30.0]])
        >>> y, moments = batch_norm(x)
        >>> print(moments.mean, moments.var)
        [ 2. 20.] [  1. 100.]

    References:
        | Batch Normalization: Accelerating Deep Network Training (Ioffe & Szegedy, 2015)
        | https://arxiv.org/abs/1502.03167
    """
    batch = checked_batch(
        x,
        scale,
        bias,
        axis=axis,
        epsilon=epsilon,
        where=where,
        weights=weights,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        implementation=implementation,
    )
    if statistics is None:
        return _by_own_moments(batch)
    moments = given_moments(batch, statistics)
    return normalized(batch, moments, given=True), public_moments(moments, batch.axes)


@compiled
def batch_moments(batch: Batch) -> SplitMoments:
    """The moments of a batch, pooled over its mapped axes."""
    return pooled_moments(
        batch.upcast,
        batch.where,
        batch.epsilon,
        batch.reduction,
        batch.names,
        batch.index_groups,
        weights=batch.weights,
    )


@compiled
def elements_with_weight(batch: Batch) -> Array:
    """How many elements of each channel have a weight above 0, over mapped axes as well."""
    assert batch.weights is not None
    arguments = (batch.reduction, batch.names, batch.index_groups)
    number = weighty_elements(batch.upcast.x, batch.weights, batch.where, *arguments)
    return jnp.squeeze(number, batch.axes)


def given_moments(batch: Batch, statistics: Any) -> SplitMoments:
    """Given statistics in the form of moments, of count 0."""
    x = batch.upcast.x
    mean, var = (
        statistic_operand(value, x, name, accumulator(x.dtype), batch.axes)
        for value, name in zip(mean_and_var(statistics), ("mean", "var"), strict=True)
    )
    return _as_moments(mean, var)


@compiled
def _as_moments(mean: Array, var: Array) -> SplitMoments:
    zero, one = jnp.zeros_like(mean), jnp.ones_like(mean)
    return SplitMoments(zero, mean, zero, var, one)


@functools.partial(compiled, static_argnames=("given",))
def normalized(batch: Batch, moments: SplitMoments, given: bool = False) -> Array:
    """The batch normalized by moments, its own or given ones, scaled and shifted."""
    used = as_varying(moments, batch.names, batch.reduction.centred)
    denominator = used.denominator(batch.epsilon)
    if given:  # as written: with a variance and epsilon of 0, infinity or, at the mean, NaN
        rstd = reciprocal_root(denominator) * used.scale
    else:
        rstd, _ = reciprocal_deviation(denominator, used.scale)
    # Where nothing takes part, 0 as everywhere, not x / sqrt(epsilon).
    if batch.whole or batch.weights is not None:
        rstd = rstd if given else masked(*alike(rstd, moments.count > 0))
    return affine(
        batch.reduction.implementation,
        batch.upcast,
        used.mean,
        used.mean_low,
        rstd,
        batch.scale,
        batch.bias,
        None if batch.whole else batch.where,
    )


@compiled
def _by_own_moments(batch: Batch) -> tuple[Array, Moments]:
    moments = batch_moments(batch)
    return normalized(batch, moments), public_moments(moments, batch.axes)
