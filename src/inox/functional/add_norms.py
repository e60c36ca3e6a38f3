"""A residual connection and the norm that follows it: layer norm and RMS norm of a sum."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..kernels.backends import check_implementation
from .arguments import affine_array, affine_operand, mask_operand, negative_axes
from .array_arguments import ArrayLike, floating
from .means import Reduction
from .residual import add_normalize
from .residual_sum import Sum, wider
from .scalar_arguments import check_epsilon, check_switch, epsilon_operand
from .scaling_arguments import (
    check_not_wider,
    check_offset_has_scale,
    check_scale_offset,
    is_given,
    out_dtype_of,
    residual_dtype_of,
)

Array = jax.Array


def add_rms_norm(
    x: ArrayLike,
    residual: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    gate: ArrayLike | None = None,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-06,
    scale_offset: float | Array = 0.0,
    out_dtype: DTypeLike | None = None,
    residual_dtype: DTypeLike | None = None,
    normalize_rounded: bool = False,
    where: ArrayLike | None = None,
    implementation: str | None = None,
) -> tuple[Array, Array]:
    r"""Adds to a residual and normalizes the sum by the root of its mean square.

    .. math:: t = h + g x, \qquad r = R(t), \qquad
        y = \frac{t}{\sqrt{\mathbb{E}[t^2] + \epsilon}} (\gamma + o)

    with the rounding :math:`R` to the dtype of the residual stream: the sum is formed in the dtype
    of the statistics and rounded once, and what is normalized is the sum before that rounding.

    Args:
        x: What is added, with shape :math:`(*, C)`: the output of a block's branch.
        residual: What it is added to, :math:`h`, with the shape of `x`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right.
        gate: A factor :math:`g` of `x`, broadcast against it from the right, which may differ from
            sample to sample (adaLN-Zero: `gate=g[:, None]`). None for 1.
        axis: The axis or axes over which the mean square is calculated.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the mean square.
        scale_offset: A number :math:`o` that is added to the scale in the dtype of the statistics:
            1.0 for a scale that is stored as its distance from 1 (Gemma).
        out_dtype: The dtype of y; None for that of `x`.
        residual_dtype: The dtype of r; None for that of `residual`.
        normalize_rounded: Whether r is normalized, as kernels for serving do that store it first,
            and not the sum before its rounding. The backward pass then keeps r alone (and what a
            gate's gradient needs), which it does anyway where the rounding changes nothing (a
            residual in float32).
        where: A boolean mask with the rank of `x`, of the elements that take part; both results are
            0 elsewhere.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The normalized sum y and the sum r, with the shape of `x`.

    Raises:
        TypeError: If `x` or the residual is complex, an operand a shape or a switch, `where` isn't
            boolean, `scale_offset` is no number or a dtype no floating-point dtype.
        ValueError: If the shapes of `x` and the residual differ, an axis is out of range or
            repeated, an operand does not broadcast to `x`, epsilon is negative or not finite,
            `scale_offset` is not finite or there is no scale to add it to, a dtype is wider than
            that of the statistics, or the implementation is not there.

    Example:
        >>> x, residual = jax.numpy.array([1.0, 3.0]), jax.numpy.array([0.0, 4.0])
        >>> y, r = add_rms_norm(x, residual, epsilon=0.0)
        >>> print(y, r)
        [0.2 1.4] [1. 7.]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
        | Scalable Diffusion Models with Transformers (Peebles & Xie, 2023), for the gate
        | https://arxiv.org/abs/2212.09748
    """
    return _add_norm(
        x,
        residual,
        scale,
        None,
        gate=gate,
        axis=axis,
        epsilon=epsilon,
        scale_offset=scale_offset,
        out_dtype=out_dtype,
        residual_dtype=residual_dtype,
        normalize_rounded=normalize_rounded,
        where=where,
        implementation=implementation,
        centred=False,
    )


def add_layer_norm(
    x: ArrayLike,
    residual: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    gate: ArrayLike | None = None,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-05,
    scale_offset: float | Array = 0.0,
    out_dtype: DTypeLike | None = None,
    residual_dtype: DTypeLike | None = None,
    normalize_rounded: bool = False,
    where: ArrayLike | None = None,
    implementation: str | None = None,
) -> tuple[Array, Array]:
    r"""Adds to a residual and normalizes the sum to mean 0 and variance 1.

    .. math:: t = h + g x, \qquad r = R(t), \qquad
        y = \frac{t - \mathbb{E}[t]}{\sqrt{\mathbb{V}[t] + \epsilon}} (\gamma + o) + \beta

    with the rounding :math:`R` to the dtype of the residual stream: the sum is formed in the dtype
    of the statistics and rounded once, and what is normalized is the sum before that rounding.

    Args:
        x: What is added, with shape :math:`(*, C)`: the output of a block's branch.
        residual: What it is added to, :math:`h`, with the shape of `x`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right.
        bias: The bias :math:`\beta`, likewise.
        gate: A factor :math:`g` of `x`, broadcast against it from the right, which may differ from
            sample to sample (adaLN-Zero: `gate=g[:, None]`). None for 1.
        axis: The axis or axes over which mean and variance are calculated.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance.
        scale_offset: A number :math:`o` that is added to the scale in the dtype of the statistics:
            1.0 for a scale that is given as its distance from 1, as adaptive norms do.
        out_dtype: The dtype of y; None for that of `x`.
        residual_dtype: The dtype of r; None for that of `residual`.
        normalize_rounded: Whether r is normalized, as kernels for serving do that store it first,
            and not the sum before its rounding. The backward pass then keeps r alone (and what a
            gate's gradient needs), which it does anyway where the rounding changes nothing (a
            residual in float32).
        where: A boolean mask with the rank of `x`, of the elements that take part; both results are
            0 elsewhere.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The normalized sum y and the sum r, with the shape of `x`.

    Raises:
        TypeError: If `x` or the residual is complex, an operand a shape or a switch, `where` isn't
            boolean, `scale_offset` is no number or a dtype no floating-point dtype.
        ValueError: If the shapes of `x` and the residual differ, an axis is out of range or
            repeated, an operand does not broadcast to `x`, epsilon is negative or not finite,
            `scale_offset` is not finite or there is no scale to add it to, a dtype is wider than
            that of the statistics, or the implementation is not there.

    Example:
        >>> x, residual = jax.numpy.array([1.0, 3.0]), jax.numpy.array([3000.0, 3000.0])
        >>> y, r = add_layer_norm(x, residual, epsilon=0.0)
        >>> print(y, r)
        [-1.  1.] [3001. 3003.]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
        | Scalable Diffusion Models with Transformers (Peebles & Xie, 2023), for the gate
        | https://arxiv.org/abs/2212.09748
    """
    return _add_norm(
        x,
        residual,
        scale,
        bias,
        gate=gate,
        axis=axis,
        epsilon=epsilon,
        scale_offset=scale_offset,
        out_dtype=out_dtype,
        residual_dtype=residual_dtype,
        normalize_rounded=normalize_rounded,
        where=where,
        implementation=implementation,
        centred=True,
    )


def _add_norm(
    x: ArrayLike,
    residual: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    gate: ArrayLike | None,
    axis: int | Sequence[int],
    epsilon: float | Array,
    scale_offset: float | Array,
    out_dtype: DTypeLike | None,
    residual_dtype: DTypeLike | None,
    normalize_rounded: bool,
    where: ArrayLike | None,
    implementation: str | None,
    centred: bool,
) -> tuple[Array, Array]:
    """What both have in common: the checks, then one program."""
    x, residual = floating(x), floating(residual, "residual")
    if x.shape != residual.shape:
        raise ValueError(
            f"residual of shape {residual.shape} must have the shape of x, {x.shape}: both are "
            "added element by element. Repeat the smaller one with jnp.broadcast_to where that is "
            "meant."
        )
    axes = negative_axes(axis, x.shape)
    check_implementation(implementation, where, axes)
    dtype = wider(x.dtype, residual.dtype)
    check_epsilon(epsilon, dtype)
    check_scale_offset(scale_offset, dtype)
    check_offset_has_scale(scale_offset, scale)
    check_switch(normalize_rounded, "normalize_rounded")
    to, of_sum = out_dtype_of(out_dtype) or x.dtype, residual_dtype_of(residual_dtype)
    of_sum = of_sum or residual.dtype
    check_not_wider("out_dtype", to, dtype)
    check_not_wider("residual_dtype", of_sum, dtype)
    how = Sum(Reduction(axes, centred, implementation), to, of_sum, normalize_rounded)
    return _program(
        how,
        dtype,
        x,
        residual,
        affine_array(gate, x, "gate"),
        epsilon,
        affine_array(scale, x, "scale"),
        affine_array(bias, x, "bias"),
        mask_operand(where, x),
        scale_offset if is_given(scale_offset) else None,
    )


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _program(
    how: Sum,
    dtype: np.dtype,
    x: Array,
    residual: Array,
    gate: Array | None,
    epsilon: float | Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
    scale_offset: Any,
) -> tuple[Array, Array]:
    """What follows the checks: one program, also outside of the caller's compiled code."""
    scale, bias, gate = (affine_operand(a, x, dtype, where) for a in (scale, bias, gate))
    if scale is not None and scale_offset is not None:
        scale = scale + jnp.asarray(scale_offset, dtype)
    small = epsilon_operand(epsilon, x, dtype)
    return add_normalize(how, x, residual, gate, small, scale, bias, where)
