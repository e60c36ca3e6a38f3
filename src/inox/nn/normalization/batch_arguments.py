"""What a batch norm refuses: a mode that is none, parameters and batches that don't fit it."""

from typing import Any

import numpy as np
from jax.core import Tracer

from ...functional.batch_arguments import Batch
from ...functional.means import size
from ...functional.scalar_arguments import check_switch, check_unit_interval
from ...functional.sums import is_number
from ..parameter import Parameter


def mode_of_call(training: Any, own: bool) -> bool:
    """The mode of a call of a layer whose own mode is `own`."""
    if training is None:
        return own
    if isinstance(training, Tracer):
        raise TypeError(
            f"training must be known when the call is traced; found a tracer, {training}. Declare "
            "it static, jax.jit(step, static_argnames='training'), or compile a function for each "
            "mode."
        )
    check_switch(training, "training")
    return bool(training)


def check_momentum(momentum: Any, channels: int | None) -> None:
    """Raises where a momentum is no weight between 0 and 1, or not one for all or each channel.

    None for a number of channels that is yet to be assigned.
    """
    check_unit_interval(momentum, "momentum")
    if channels is not None and np.shape(momentum) not in ((), (channels,)):
        raise ValueError(
            f"momentum must be a scalar, or one value a channel of shape ({channels},); found "
            f"shape {np.shape(momentum)}. Map over several with jax.vmap."
        )


def check_channels(batch: Batch, channels: int, axis: int = -1) -> None:
    """Raises where a batch has another number of channels than the layer."""
    shape = batch.upcast.x.shape
    if shape[axis] == channels:
        return
    if axis == -1:
        raise ValueError(
            f"x must have {channels} channels, the last axis, as the layer was built with "
            f"channels={channels}; found shape {shape}. Move the channels last, tell where they "
            f"are with channel_axis, or build the layer with channels={shape[-1]}."
        )
    raise ValueError(
        f"x must have {channels} channels along axis {axis}, as the layer was built with "
        f"channels={channels} and channel_axis={axis}; found shape {shape}. Move the channels "
        f"there, or build the layer with channels={shape[axis]}."
    )


def check_by_channel(parameter: Parameter | None, name: str, channels: int) -> None:
    """Raises where a scale or bias broadcasts to no batch with this number of channels."""
    shape: tuple[int, ...] = () if parameter is None else parameter.value.shape
    if shape and shape[-1] not in (1, channels):
        raise ValueError(
            f"{name} of shape {shape} does not broadcast to {channels} channels, the last axis. "
            f"Give it shape ({channels},), or build the layer with channels={shape[-1]}."
        )


def check_several_elements(batch: Batch, samples: int | None = None) -> None:
    """Raises where it is known that each channel has one element, which has no variance.

    Args:
        batch: The batch.
        samples: How many samples make up a virtual batch; None where all are one batch.
    """
    shape = batch.upcast.x.shape
    elements = size(shape, batch.axes)
    if batch.where is not None or batch.weights is not None or not is_number(elements):
        return
    if samples == 1 and elements == shape[0] > 0:
        raise ValueError(
            f"virtual_batch=1 leaves one element a channel for x of shape {shape}, and that has "
            "no variance: the output would be the bias. In training mode take more samples "
            "together, for example virtual_batch=32."
        )
    if elements != 1 or batch.names:
        return
    raise ValueError(
        f"x of shape {shape} has one element a channel, which has no variance: the "
        "output would be the bias, and the running variance would go to 0. In training mode give "
        "the batch more rows, or pool over devices or a vmap with axis_name; or call the layer in "
        "evaluation mode, training=False."
    )
