"""Layer, RMS and group norm and plain standardization: a choice of axes each."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..kernels.implementation import check_implementation
from .arguments import (
    ArrayLike,
    affine_operand,
    epsilon_operand,
    floating,
    group_count,
    mask_operand,
    negative_axes,
)
from .means import Reduction, accumulator
from .normalize import normalize

Array = jax.Array


def _row_norm(
    x: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    axis: int | Sequence[int],
    epsilon: float | Array,
    where: ArrayLike | None,
    implementation: str | None,
    centred: bool = True,
) -> Array:
    check_implementation(implementation)
    x = floating(x)
    axes = negative_axes(axis, x.shape)
    dtype = accumulator(x.dtype)
    mask = mask_operand(where, x)
    return normalize(
        Reduction(axes, centred, implementation),
        x,
        epsilon_operand(epsilon, x, dtype),
        affine_operand(scale, x, "scale", dtype, mask),
        affine_operand(bias, x, "bias", dtype, mask),
        mask,
    )


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
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.

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
    return _row_norm(x, None, None, axis, epsilon, where, implementation)


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
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.

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
    return _row_norm(x, scale, bias, axis, epsilon, where, implementation)


def rms_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-06,
    where: ArrayLike | None = None,
    implementation: str | None = None,
) -> Array:
    r"""Divides by the root of the mean square along axes, then scales.

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}} \gamma

    Args:
        x: The input, with shape :math:`(*, C)`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right. It is multiplied
            before the result is rounded to the dtype of `x`.
        axis: The axis or axes over which the mean square is calculated.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the mean square.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex, an operand a shape or a switch, or `where` isn't boolean.
        ValueError: If an axis is out of range or repeated, an operand does not broadcast to `x`,
            epsilon is negative or not finite, or the implementation is not there.

    Example:
        >>> print(rms_norm(jax.numpy.array([1.0, 7.0]), epsilon=0.0))
        [0.2 1.4]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """
    return _row_norm(x, scale, None, axis, epsilon, where, implementation, centred=False)


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
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.

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
    check_implementation(implementation)
    x = floating(x)
    axes = negative_axes(axis, x.shape)
    if -1 not in axes:
        raise ValueError(
            f"axis must include the last axis, the one that is split into groups; found {axis!r}. "
            "Add -1, for example axis=(-3, -2, -1) for images."
        )
    groups = group_count(groups, x.shape[-1], x.shape)
    dtype = accumulator(x.dtype)
    mask = mask_operand(where, x)
    scale = affine_operand(scale, x, "scale", dtype, mask)
    bias = affine_operand(bias, x, "bias", dtype, mask)

    def split(array: Array | None) -> Array | None:
        """(..., C) as (..., G, C / G)."""
        if array is None:
            return None
        last = (1, 1) if array.shape[-1] == 1 else (groups, x.shape[-1] // groups)
        return jnp.reshape(array, (*array.shape[:-1], *last))

    split_x = jnp.reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))
    y = normalize(
        Reduction(tuple(a if a == -1 else a - 1 for a in axes), True, implementation),
        split_x,
        epsilon_operand(epsilon, split_x, dtype),
        split(scale),
        split(bias),
        split(mask),
    )
    return jnp.reshape(y, x.shape)
