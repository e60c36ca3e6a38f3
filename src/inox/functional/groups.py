"""Group norm: the last axis in groups, each normalized by itself."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..kernels.arithmetic import accumulator
from ..kernels.backends import check_implementation
from ..kernels.explicit_sharding import (
    mapped_as,
    merge_last_axes,
    split_last_axis,
    split_of_last_axis,
)
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
from .means import Reduction, masked
from .normalize import normalize
from .pooling_over_devices import devices_along
from .scalar_arguments import check_epsilon, check_switch, epsilon_operand, group_count
from .split_rows import blocks_of, normalize_split_groups

Array = jax.Array


def group_norm(
    x: ArrayLike,
    groups: int,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    center: bool = True,
    epsilon: float | Array = 1e-05,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
    implementation: str | None = None,
) -> Array:
    r"""Normalizes groups of channels, then scales and shifts.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    with the mean and variance of each group of :math:`C / G` neighbouring channels. Without
    `center` it is RMS norm of each group (heads of attention, retention and state space models):

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}} \gamma + \beta

    Args:
        x: The input, with shape :math:`(*, C)`.
        groups: The number of groups :math:`G`, which divides :math:`C`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right.
        bias: The bias :math:`\beta`, broadcast against `x` from the right.
        axis: The axes that are pooled, the last among them: -1 normalizes each position apart,
            (-3, -2, -1) each image, as in the paper.
        center: Whether the mean is subtracted; False divides by the root of the mean square alone.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        axis_name: Names of mapped axes (`shard_map`, `vmap`) that the channels are split over, in
            the order of their positions, the last name fastest. `groups` counts those of all
            channels; a group may lie on one device or span several. Scale and bias are those of
            the channels here.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex, an operand a shape or a switch, `where` isn't boolean, or
            `center` no bool.
        ValueError: If `groups` doesn't divide the channels, an axis is out of range or repeated or
            the last one missing, an operand does not broadcast to `x`, epsilon is negative or not
            finite, `axis_name` is not bound, or the implementation is not there.

    Example:
        >>> x = jax.numpy.array([1.0, 3.0, 10.0, 30.0])
        >>> print(group_norm(x, groups=2, epsilon=0.0))
        [-1.  1. -1.  1.]
        >>> x = jax.numpy.array([1.0, 7.0, 10.0, 70.0])
        >>> print(group_norm(x, groups=2, center=False, epsilon=0.0))
        [0.2 1.4 0.2 1.4]

    References:
        | Group Normalization (Wu & He, 2018)
        | https://arxiv.org/abs/1803.08494
    """
    x = floating(x)
    axes = negative_axes(axis, x.shape)
    check_implementation(implementation, where, axes)
    if -1 not in axes:
        raise ValueError(
            f"axis must include the last axis, the one that is split into groups; found {axis!r}. "
            "Add -1, for example axis=(-3, -2, -1) for images."
        )
    names = bound_names(axis_name)
    devices = devices_along(names)
    groups = group_count(groups, x.shape[-1] * devices, (*x.shape[:-1], x.shape[-1] * devices))
    check_epsilon(epsilon, accumulator(x.dtype))
    check_switch(center, "center")
    axes_of_groups = tuple(a if a == -1 else a - 1 for a in axes)
    reduction = Reduction(axes_of_groups, bool(center), implementation)
    scale, bias = affine_array(scale, x, "scale"), affine_array(bias, x, "bias")
    mask = mask_operand(where, x)
    if names:
        # A device has its channels in blocks, of which `together` make up a group.
        blocks, together = blocks_of(groups, x.shape[-1], devices)
        return _group_normalized(reduction, blocks, together, names, x, epsilon, scale, bias, mask)
    if split := split_of_last_axis(x):
        names, devices = split
        blocks, together = blocks_of(groups, x.shape[-1] // devices, devices)
        if together > 1:  # which no array of groups beside channels can say by its type
            on_parts = functools.partial(_group_normalized, reduction, blocks, together, names)
            dtype = accumulator(x.dtype)
            scale, bias = (affine_operand(array, x, dtype, mask) for array in (scale, bias))
            return mapped_as(on_parts, x, jnp.asarray(epsilon, dtype), scale, bias, mask)
    return _group_normalized(reduction, groups, 1, names, x, epsilon, scale, bias, mask)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), inline=True)
def _group_normalized(
    reduction: Reduction,
    blocks: int,
    together: int,
    names: Names,
    x: Array,
    epsilon: float | Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
) -> Array:
    """What follows the checks: one program, also outside of the caller's compiled code."""
    dtype = accumulator(x.dtype)

    # Of single positions the axis of groups is apart from that of channels. By that a backend tells
    # groups, neighbours in memory, from heads, whose place there is the compiler's choice.
    apart = together == 1 and reduction.axes == (-1,)

    def split(array: Array | None) -> Array | None:
        """(..., C) as (..., G, C / G), or as (..., G, 1, C / G)."""
        if array is None:
            return None
        groups = split_last_axis(array, blocks)
        return jnp.expand_dims(groups, -2) if apart else groups

    # Masked before anything reads it: NaN in padding would stop a program that looks for NaN.
    split_x = split(masked(x, where))
    assert split_x is not None
    operands = (
        split_x,
        epsilon_operand(epsilon, split_x, dtype),
        split(affine_operand(scale, x, dtype, where)),
        split(affine_operand(bias, x, dtype, where)),
        split(where),
    )
    if together == 1:  # a block is a group, and needs no other device
        y = normalize(reduction, *operands)
        return merge_last_axes(jnp.squeeze(y, -2) if apart else y, x)
    return merge_last_axes(normalize_split_groups(reduction, names, together, *operands), x)
