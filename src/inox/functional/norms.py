"""Layer and group norm and plain standardization: a choice of axes each."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.backends import check_implementation
from ..kernels.explicit_sharding import merge_last_axes, split_last_axis
from .arguments import (
    ArrayLike,
    affine_array,
    affine_operand,
    check_epsilon,
    epsilon_operand,
    floating,
    group_count,
    mask_operand,
    negative_axes,
)
from .means import Reduction, accumulator, masked
from .normalize import normalize
from .rounded_scaling import normalize_rounded
from .scaling_arguments import (
    check_offset_has_scale,
    check_rounding_dtype,
    check_scale_offset,
    is_given,
    rounding_dtype,
)

Array = jax.Array


def row_norm(
    x: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    axis: int | Sequence[int],
    epsilon: float | Array,
    where: ArrayLike | None,
    implementation: str | None,
    centred: bool = True,
    scale_offset: float | Array = 0.0,
    normalized_dtype: Any = None,
) -> Array:
    """What layer, RMS and plain standardization have in common: the checks, then one program."""
    check_implementation(implementation, where)
    x = floating(x)
    axes = negative_axes(axis, x.shape)
    statistics = accumulator(x.dtype)
    check_epsilon(epsilon, statistics)
    check_scale_offset(scale_offset, statistics)
    check_offset_has_scale(scale_offset, scale)
    rounded = rounding_dtype(normalized_dtype)
    check_rounding_dtype(rounded, x, statistics)
    if rounded == statistics != x.dtype:  # the last rounding is coarser by far
        rounded = None
    return _normalized(
        Reduction(axes, centred, implementation),
        rounded,
        x,
        epsilon,
        affine_array(scale, x, "scale"),
        affine_array(bias, x, "bias"),
        mask_operand(where, x),
        scale_offset if is_given(scale_offset) else None,
    )


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _normalized(
    reduction: Reduction,
    rounded: np.dtype | None,
    x: Array,
    epsilon: float | Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
    scale_offset: float | Array | None,
) -> Array:
    """What follows the checks: one program, also outside of the caller's compiled code.

    Inside of it, it leaves no trace but its operations, and is traced once for equal arguments.
    """
    dtype = accumulator(x.dtype)
    small = epsilon_operand(epsilon, x, dtype)
    scale = affine_operand(scale, x, dtype, where)
    if scale is not None and scale_offset is not None:
        scale = scale + jnp.asarray(scale_offset, dtype)
    if rounded is not None:  # RMS norm, which has no bias
        return normalize_rounded(reduction, rounded, x, small, scale, where)
    return normalize(reduction, x, small, scale, affine_operand(bias, x, dtype, where), where)


def standardize(
    x: ArrayLike,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-05,
    *,
    where: ArrayLike | None = None,
    implementation: str | None = None,
) -> Array:
    r"""Shifts and scales `x` to mean 0 and variance 1 along axes.

    .. math:: \hat x = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}}

    Args:
        x: The input, of any shape and real dtype.
        axis: The axis or axes over which mean and variance are calculated.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex or `where` isn't boolean.
        ValueError: If an axis is out of range or repeated, `where` has another rank or does not
            broadcast, epsilon is negative or not finite, or the implementation is not there.

    Example:
        >>> print(standardize(jax.numpy.array([1.0, 3.0]), epsilon=0.0))
        [-1.  1.]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """
    return row_norm(x, None, None, axis, epsilon, where, implementation)


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-05,
    where: ArrayLike | None = None,
    implementation: str | None = None,
) -> Array:
    r"""Normalizes along axes, then scales and shifts.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Args:
        x: The input, with shape :math:`(*, C)`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; it may differ from
            sample to sample (adaptive norm: `layer_norm(x, 1 + s[:, None], b[:, None])`).
        bias: The bias :math:`\beta`, likewise.
        axis: The axis or axes over which mean and variance are calculated.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex, an operand a shape or a switch, or `where` isn't boolean.
        ValueError: If an axis is out of range or repeated, an operand does not broadcast to `x`,
            epsilon is negative or not finite, or the implementation is not there.

    Example:
        >>> x = jax.numpy.array([[1.0, 3.0], [3000.0, 3002.0]])
        >>> print(layer_norm(x, scale=2.0, bias=1.0, epsilon=0.0))
        [[-1.  3.]
         [-1.  3.]]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """
    return row_norm(x, scale, bias, axis, epsilon, where, implementation)


def group_norm(
    x: ArrayLike,
    groups: int,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-05,
    where: ArrayLike | None = None,
    implementation: str | None = None,
) -> Array:
    r"""Normalizes groups of channels, then scales and shifts.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    with the mean and variance of each group of :math:`C / G` neighbouring channels.

    Args:
        x: The input, with shape :math:`(*, C)`.
        groups: The number of groups :math:`G`, which divides :math:`C`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right.
        bias: The bias :math:`\beta`, broadcast against `x` from the right.
        axis: The axes that are pooled, the last among them: -1 normalizes each position apart,
            (-3, -2, -1) each image, as in the paper.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex, an operand a shape or a switch, or `where` isn't boolean.
        ValueError: If `groups` doesn't divide the channels, an axis is out of range or repeated or
            the last one missing, an operand does not broadcast to `x`, epsilon is negative or not
            finite, or the implementation is not there.

    Example:
        >>> x = jax.numpy.array([1.0, 3.0, 10.0, 30.0])
        >>> print(group_norm(x, groups=2, epsilon=0.0))
        [-1.  1. -1.  1.]

    References:
        | Group Normalization (Wu & He, 2018)
        | https://arxiv.org/abs/1803.08494
    """
    check_implementation(implementation, where)
    x = floating(x)
    axes = negative_axes(axis, x.shape)
    if -1 not in axes:
        raise ValueError(
            f"axis must include the last axis, the one that is split into groups; found {axis!r}. "
            "Add -1, for example axis=(-3, -2, -1) for images."
        )
    groups = group_count(groups, x.shape[-1], x.shape)
    check_epsilon(epsilon, accumulator(x.dtype))
    return _group_normalized(
        Reduction(tuple(a if a == -1 else a - 1 for a in axes), True, implementation),
        groups,
        x,
        epsilon,
        affine_array(scale, x, "scale"),
        affine_array(bias, x, "bias"),
        mask_operand(where, x),
    )


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _group_normalized(
    reduction: Reduction,
    groups: int,
    x: Array,
    epsilon: float | Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
) -> Array:
    """As :func:`_normalized`, with the last axis split into groups."""
    dtype = accumulator(x.dtype)

    def split(array: Array | None) -> Array | None:
        """(..., C) as (..., G, C / G)."""
        return None if array is None else split_last_axis(array, groups)

    # Masked before anything reads it: NaN in padding would stop a program that looks for NaN.
    split_x = split_last_axis(masked(x, where), groups)
    y = normalize(
        reduction,
        split_x,
        epsilon_operand(epsilon, split_x, dtype),
        split(affine_operand(scale, x, dtype, where)),
        split(affine_operand(bias, x, dtype, where)),
        split(where),
    )
    return merge_last_axes(y, x)
