r"""Batch norm: moments over all axes but the channels, then an elementwise map.

The sums over the batch are kept apart from the elementwise part, because they are what crosses
devices, and because XLA fuses the elementwise part with the activation and the residual that
follow. The derivative of the whole is put together by JAX from those of the moments, of their
pooling, of :math:`r` and of the affine map. The contributions to the gradient of x meet in the
dtype of the statistics (:class:`.split_moments.Upcast`) and are rounded to a half type once.

:func:`batch_norm` is three steps, which a layer that needs what lies between takes one by one: the
arguments checked (:func:`checked_batch`), their moments (:func:`batch_moments` or
:func:`given_moments`) and what these make of the batch (:func:`normalized`).
"""

import dataclasses
import functools
from collections.abc import Hashable, Mapping
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
from .means import Reduction, accumulator, masked
from .moments import Moments, pooled_moments, public_moments, stacked
from .pooling import SplitMoments
from .reciprocal_root import reciprocal_root
from .split_moments import Upcast, upcasting
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
        statistics: A pair of mean and variance, with shape :math:`(C)` each, to use instead of the
            batch's: moments, or an entry of a state in whatever container a checkpoint left it.
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
    batch = checked_batch(
        x,
        scale,
        bias,
        epsilon=epsilon,
        where=where,
        axis_name=axis_name,
        implementation=implementation,
    )
    if statistics is None:
        return _by_own_moments(batch)
    moments = given_moments(batch, statistics)
    return normalized(batch, moments, given=True), public_moments(moments, batch.axes)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["upcast", "scale", "bias", "epsilon", "where"],
    meta_fields=["names", "implementation"],
)
@dataclasses.dataclass(frozen=True)
class Batch:
    """The arguments of batch norm, checked and converted: all arrays have the rank of `x`.

    Args:
        upcast: The array, with the copy that carries its derivative.
        scale: The scale, in the dtype of the statistics.
        bias: The bias, in the dtype of the statistics.
        epsilon: What is added to the variance.
        where: The mask.
        names: The mapped axes to pool over.
        implementation: What carries the operations out.
    """

    upcast: Upcast
    scale: Array | None
    bias: Array | None
    epsilon: Array
    where: Array | None
    names: tuple[Hashable, ...]
    implementation: str | None

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of the batch: all but the channels."""
        return tuple(range(-self.upcast.x.ndim, -1))


def checked_batch(
    x: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    epsilon: float | Array,
    where: ArrayLike | None,
    axis_name: AxisName,
    implementation: str | None,
) -> Batch:
    """The arguments of batch norm, or an error that names the wrong one."""
    check_implementation(implementation, where)
    x = floating(x)
    if x.ndim < 2:
        raise ValueError(
            f"x must have a batch axis and a channel axis, (N, *, C); found shape {x.shape}. "
            "For a single sample add an axis, x[None]; under jax.vmap pass axis_name to pool "
            "over the mapped axis and give each call at least one row."
        )
    check_epsilon(epsilon, accumulator(x.dtype))
    return _converted(
        x,
        affine_array(scale, x, "scale"),
        affine_array(bias, x, "bias"),
        epsilon,
        mask_operand(where, x),
        bound_names(axis_name),
        implementation,
    )


# The steps are compiled on their own where nothing else is: a few calls in place of a hundred.
compiled = functools.partial(jax.jit, inline=True)


@functools.partial(compiled, static_argnames=("names", "implementation"))
def _converted(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    epsilon: float | Array,
    where: Array | None,
    names: tuple[Hashable, ...],
    implementation: str | None,
) -> Batch:
    dtype = accumulator(x.dtype)
    # Masked before anything reads it: NaN in padding would stop a program that looks for NaN.
    x = masked(x, where)
    return Batch(
        upcasting(x),
        affine_operand(scale, x, dtype, where),
        affine_operand(bias, x, dtype, where),
        epsilon_operand(epsilon, x, dtype),
        where,
        names,
        implementation,
    )


@compiled
def batch_moments(batch: Batch) -> SplitMoments:
    """The moments of a batch, pooled over its mapped axes by one collective."""
    reduction = Reduction(batch.axes, implementation=batch.implementation)
    return pooled_moments(batch.upcast, batch.where, batch.epsilon, reduction, batch.names)


def given_moments(batch: Batch, statistics: Any) -> SplitMoments:
    """Given statistics in the form of moments, of count 0."""
    x = batch.upcast.x
    mean, var = (
        statistic_operand(value, x, name, accumulator(x.dtype))
        for value, name in zip(_mean_and_var(statistics), ("mean", "var"), strict=True)
    )
    return _as_moments(mean, var)


@compiled
def _as_moments(mean: Array, var: Array) -> SplitMoments:
    zero, one = jnp.zeros_like(mean), jnp.ones_like(mean)
    return SplitMoments(zero, mean, zero, var, one)


@functools.partial(compiled, static_argnames=("given",))
def normalized(batch: Batch, moments: SplitMoments, given: bool = False) -> Array:
    """The batch normalized by moments, its own or given ones, scaled and shifted."""
    used = moments
    if batch.names:
        # Marked as varying together, so that the backward pass sums their gradients over the
        # devices in one collective.
        parts = vary_over(stacked(moments[1:]), frozenset(batch.names))
        used = SplitMoments(moments.count, *parts)
    denominator = used.denominator(batch.epsilon)
    if given:  # as written: with a variance and epsilon of 0, infinity or, at the mean, NaN
        rstd = reciprocal_root(denominator) * used.scale
    else:
        rstd, _ = reciprocal_deviation(denominator, used.scale)
    return affine(
        batch.implementation,
        batch.upcast,
        used.mean,
        used.mean_low,
        rstd,
        batch.scale,
        batch.bias,
        batch.where,
    )


@compiled
def _by_own_moments(batch: Batch) -> tuple[Array, Moments]:
    moments = batch_moments(batch)
    return normalized(batch, moments), public_moments(moments, batch.axes)


def _mean_and_var(statistics: Any) -> tuple[Any, Any]:
    """Mean and variance by their names, where there are names, else of a pair."""
    names = {"mean", "var"}
    if isinstance(statistics, Mapping) and set(statistics) == names:
        return statistics["mean"], statistics["var"]
    if isinstance(statistics, tuple) and names <= set(getattr(statistics, "_fields", ())):
        named: Any = statistics
        return named.mean, named.var
    if not isinstance(statistics, (tuple, list)) or len(statistics) != 2:
        raise TypeError(
            f"statistics must be a pair (mean, var); found {type(statistics).__name__}. Pass "
            "state[layer.stats], or statistics=(mean, var)."
        )
    return statistics[0], statistics[1]
