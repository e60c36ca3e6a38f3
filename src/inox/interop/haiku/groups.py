"""Group norm for Haiku."""

from typing import Any

import jax
import jax.numpy as jnp

from ...functional.scalar_arguments import positive_integer
from ..core import Over, normalize
from .base import (
    Axis,
    Initializer,
    absolute_axes,
    affine_arrays,
    as_input,
    check_initializers,
    checked_axis,
    hk,
)

Array = jax.Array


class GroupNorm(hk.Module):
    r"""Group normalization as :class:`haiku.GroupNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    with the mean and variance of each group of neighbouring channels, wherever the channels are.

    Args:
        groups: The number of groups, which divides the channels.
        axis: The axis, the axes or the slice of axes that are reduced; groups are never pooled,
            and where the channels are not among them each channel is a group of its own.
        create_scale: Whether the layer has a scale.
        create_offset: Whether the layer has an offset.
        eps: What is added to the variance, in its units.
        scale_init: The initializer of the scale; None for ones.
        offset_init: The initializer of the offset; None for zeros.
        data_format: Where the channels are: `channels_last`, `channels_first`, `NHWC`, `NCHW`, ...
        name: The name of the module.

    Raises:
        TypeError: If `groups` is no integer.
        ValueError: If `groups` is not above 0, an initializer is given for what is not created, or
            `axis` names no axes.

    Example:
        >>> import haiku as hk
        >>> init, apply = hk.transform(lambda x: GroupNorm(groups=2, eps=0.0)(x))
        >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
        >>> print(apply(init(None, x), None, x))
        [[-1.  1. -1.  1.]]

    References:
        | Group Normalization (Wu & He, 2018)
        | https://arxiv.org/abs/1803.08494
    """

    def __init__(
        self,
        groups: int,
        axis: Axis = slice(1, None),
        create_scale: bool = True,
        create_offset: bool = True,
        eps: float = 1e-5,
        scale_init: Initializer | None = None,
        offset_init: Initializer | None = None,
        data_format: str = "channels_last",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_initializers(scale=(create_scale, scale_init), offset=(create_offset, offset_init))
        self.axis = checked_axis(axis)
        self.groups = positive_integer(groups, "groups")
        self.eps = eps
        self.data_format = data_format
        self.channel_index = hk.get_channel_index(data_format)
        self.create_scale = create_scale
        self.create_offset = create_offset
        self.rank: int | None = None
        if create_scale:
            self.scale_init = scale_init or jnp.ones
        if create_offset:
            self.offset_init = offset_init or jnp.zeros

    def __call__(self, x: Any, scale: Any = None, offset: Any = None) -> Array:
        """Normalizes groups of channels.

        Args:
            x: The input, with its channels where `data_format` says, and as many axes as at the
                first call.
            scale: A scale that broadcasts to `x`, for a layer that has none.
            offset: An offset that broadcasts to `x`, for a layer that has none.

        Returns:
            The output, with the shape and dtype of `x`.

        Raises:
            ValueError: If `groups` does not divide the channels, the rank has changed, an axis is
                out of range, or `scale` or `offset` is given to a layer that has one, or does not
                broadcast.
        """
        return apply_group_norm(self, x, scale, offset)


def apply_group_norm(layer: Any, x: Any, scale: Any = None, offset: Any = None) -> Array:
    """What the call of a group norm does, of ours or of Haiku's own: both have its attributes."""
    x = as_input(x)
    _check_rank(layer, x)
    (place,) = absolute_axes(layer.channel_index, x.ndim, "the axis of the channels")
    channels, groups = x.shape[place], layer.groups
    if channels % groups:
        raise ValueError(
            "The number of channels must be divisible by the number of groups; found "
            f"{channels} channels and {groups} groups. Choose a divisor."
        )
    axes = absolute_axes(layer.axis, x.ndim)
    shape = (channels,) + (1,) * (x.ndim - 1 - place)
    scale, offset = affine_arrays(layer, x, shape, scale=scale, offset=offset)
    layer.rank = x.ndim
    if place not in axes:
        return normalize(Over(axes, layer.eps), x, scale, offset)
    if place == x.ndim - 1:
        return normalize(Over(axes, layer.eps, groups=groups), x, scale, offset)
    # The axis of the channels becomes two, groups and channels of a group: a view, not a copy.
    within = tuple(axis + (axis >= place) for axis in axes)
    operands = (_split(array, place, groups, x.ndim) for array in (scale, offset))
    split: Any = _split(x, place, groups, x.ndim)
    return normalize(Over(within, layer.eps), split, *operands).reshape(x.shape)


def _check_rank(layer: Any, x: Array) -> None:
    if layer.rank is not None and layer.rank != x.ndim:
        raise ValueError(
            "The rank of the inputs cannot change between calls, the original call was "
            f"rank={layer.rank} but this call was rank={x.ndim}. Use a layer for each rank."
        )
    if hasattr(layer, "group_shape"):
        raise ValueError(
            f"{layer.module_name} was called outside of inox.interop.haiku.replaced() before, and "
            "has changed its axes. Make all its calls inside."
        )


def _split(array: Any, place: int, groups: int, rank: int) -> Array | None:
    """An array of `rank` axes at most with axis `place`, if it varies along it, split in two."""
    if array is None:
        return None
    array = jnp.asarray(array)
    shape = (1,) * (rank - array.ndim) + array.shape
    parts = (1, 1) if shape[place] == 1 else (groups, shape[place] // groups)
    return array.reshape(*shape[:place], *parts, *shape[place + 1 :])
