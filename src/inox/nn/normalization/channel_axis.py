"""Channels that are not the last axis: over what a batch norm pools, and where its arrays lie."""

from typing import Any

import jax
import numpy as np

from ...functional.array_arguments import described
from ...functional.scalar_arguments import integer
from ..parameter import Parameter

Array = jax.Array


def static_channel_axis(channel_axis: Any, virtual_batch: int | None) -> int:
    """The axis of the channels as a Python integer."""
    try:
        axis = integer(channel_axis)
    except TypeError:
        raise TypeError(
            f"channel_axis must be an integer; found {described(channel_axis)}. Write -1 where the "
            "channels are last, 1 for images with their channels first, (N, C, H, W)."
        ) from None
    if axis == 0 and virtual_batch is not None:
        raise ValueError(
            f"virtual_batch={virtual_batch} groups samples along the first axis, and "
            "channel_axis=0 says that the channels are there. Put the samples first, and write "
            "channel_axis=1."
        )
    return axis


def check_along_channels(parameter: Parameter | None, name: str, channels: int) -> None:
    """Raises where a scale or bias is no array along channels that are not last."""
    shape = () if parameter is None else parameter.value.shape
    if shape not in ((), (1,), (channels,)):
        raise ValueError(
            f"{name} must have shape ({channels},), one number a channel, where channel_axis is "
            f"not -1; found {shape}. It is lined up with the channels, wherever they are."
        )


def pooled_axes(x: Any, channel_axis: int) -> tuple[int, ...] | None:
    """All axes but the channels', or None where the rank of `x` leaves that to other checks."""
    if channel_axis == -1:
        return None
    rank = _rank(x)
    if rank < 2:
        return None
    if not -rank <= channel_axis < rank:
        raise ValueError(
            f"channel_axis {channel_axis} is out of range for x of shape {np.shape(x)}, which has "
            f"{rank} axes. Use a value from {-rank} to {rank - 1}."
        )
    return tuple(axis for axis in range(rank) if axis != channel_axis % rank)


def _rank(x: Any) -> int:
    """The rank of `x`; 0 for ragged lists and tuples of traced arrays: other checks refuse them."""
    try:
        return np.ndim(x)
    except (TypeError, ValueError):
        return 0


def along_channels(array: Array | None, x: Any, channel_axis: int) -> Array | None:
    """A scale or bias of shape (C,) as it broadcasts to `x` from the right.

    None where `x` has another number of channels, so that the check of that is the one to tell.
    """
    if array is None or channel_axis == -1 or array.ndim != 1:
        return array
    rank = _rank(x)
    if rank < 2:
        return array
    if array.size not in (1, np.shape(x)[channel_axis]):
        return None
    return array.reshape(-1, *(1,) * (rank - 1 - channel_axis % rank))
