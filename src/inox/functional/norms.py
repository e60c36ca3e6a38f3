"""Layer norm and plain standardization: a choice of axes each, for RMS norm too."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.arithmetic import accumulator
from ..kernels.backends import check_implementation
from ..kernels.mapped_axes import Names
from .arguments import (
    AxisName,
    affine_array,
    affine_operand,
    bound_names,
    mask_operand,
    negative_axes,
)
from .array_arguments import ArrayLike, floating
from .means import Reduction
from .normalize import normalize
from .rounded_scaling import normalize_then_round
from .scalar_arguments import check_epsilon, epsilon_operand
from .scaling_arguments import (
    check_offset_has_scale,
    check_rounding_dtype,
    check_scale_offset,
    is_given,
    rounding_dtype,
)
from .split_rows import normalize_split, normalize_split_then_round

Array = jax.Array


def row_norm(
    x: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    axis: int | Sequence[int],
    epsilon: float | Array,
    where: ArrayLike | None,
    implementation: str | None,
    centred: bool = True,
    scale_offset: float | Array = 0.0,
    normalized_dtype: Any = None,
    axis_name: AxisName = None,
) -> Array:
    """What layer, RMS and plain standardization have in common: the checks, then one program."""
    x = floating(x)
    axes = negative_axes(axis, x.shape)
    check_implementation(implementation, where, axes)
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
        bound_names(axis_name),
        x,
        epsilon,
        affine_array(scale, x, "scale"),
        affine_array(bias, x, "bias"),
        mask_operand(where, x),
        scale_offset if is_given(scale_offset) else None,
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _normalized(
    reduction: Reduction,
    rounded: np.dtype | None,
    names: Names,
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
        if names:
            return normalize_split_then_round(reduction, names, rounded, x, small, scale, where)
        return normalize_then_round(reduction, rounded, x, small, scale, where)
    bias = affine_operand(bias, x, dtype, where)
    if names:
        return normalize_split(reduction, names, x, small, scale, bias, where)
    return normalize(reduction, x, small, scale, bias, where)


def standardize(
    x: ArrayLike,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-05,
    *,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
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
        axis_name: Names of mapped axes (`shard_map`, `vmap`) that the normalized axes are split
            over: mean and variance are those of all parts, weighted by count.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex or `where` isn't boolean.
        ValueError: If an axis is out of range or repeated, `where` has another rank or does not
            broadcast, epsilon is negative or not finite, `axis_name` is not bound, or the
            implementation is not there.

    Example:
        >>> print(standardize(jax.numpy.array([1.0, 3.0]), epsilon=0.0))
        [-1.  1.]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """
    return row_norm(
        x,
        None,
        None,
        axis=axis,
        epsilon=epsilon,
        where=where,
        implementation=implementation,
        axis_name=axis_name,
    )


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-05,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
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
        axis_name: Names of mapped axes (`shard_map`, `vmap`) that the normalized axes are split
            over: mean and variance are those of all parts, weighted by count. Scale and bias are
            those of this part.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex, an operand a shape or a switch, or `where` isn't boolean.
        ValueError: If an axis is out of range or repeated, an operand does not broadcast to `x`,
            epsilon is negative or not finite, `axis_name` is not bound, or the implementation is
            not there.

    Example:
        >>> x = jax.numpy.array([[1.0, 3.0], [3000.0, 3002.0]])
        >>> print(layer_norm(x, scale=2.0, bias=1.0, epsilon=0.0))
        [[-1.  3.]
         [-1.  3.]]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """
    return row_norm(
        x,
        scale,
        bias,
        axis=axis,
        epsilon=epsilon,
        where=where,
        implementation=implementation,
        axis_name=axis_name,
    )
