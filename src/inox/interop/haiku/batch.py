"""Batch norm for Haiku."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...functional.arguments import check_axis_name
from ...functional.moments import Moments
from ...functional.pooling_over_devices import devices_along
from ...kernels.mapped_axes import IndexGroups
from ..core import Over, grouped_positions, normalize_batch, normalize_by, storable
from .base import (
    Initializer,
    absolute_axes,
    affine_arrays,
    as_input,
    check_initializers,
    checked_axis,
    hk,
)

Array = jax.Array


class BatchNorm(hk.Module):
    r"""Batch normalization as :class:`haiku.BatchNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Arguments, parameters and state are Haiku's own, by name, shape and dtype: the running
    statistics are two :class:`haiku.ExponentialMovingAverage`. For inputs of half precision they
    are float32, where Haiku keeps them in half. A batch of one element a channel has no variance,
    and moves the running mean alone.

    Args:
        create_scale: Whether the layer has a scale.
        create_offset: Whether the layer has an offset.
        decay_rate: The weight of the old running statistics.
        eps: What is added to the variance, in its units.
        scale_init: The initializer of the scale; None for ones.
        offset_init: The initializer of the offset; None for zeros.
        axis: The reduced axes; None for all but that of the channels.
        cross_replica_axis: Names of mapped axes over which statistics are pooled as well.
        cross_replica_axis_index_groups: Groups of positions of the one mapped axis, each pooled
            alone.
        data_format: Where the channels are: `channels_last`, `channels_first`, `NHWC`, `NCHW`, ...
        name: The name of the module.

    Raises:
        ValueError: If an initializer is given for what is not created, `axis` names no axes, the
            index groups are not alike or there is no one axis that they are of.

    Example:
        >>> import haiku as hk
        >>> def network(x, is_training):
        ...     return BatchNorm(True, True, decay_rate=0.9)(x, is_training)
        >>> init, apply = hk.transform_with_state(network)
        >>> x = jnp.array([[1.0, 10.0], [3.0, 30.0]])
        >>> parameters, state = init(None, x, True)
        >>> y, state = apply(parameters, state, None, x, True)
        >>> print(state["batch_norm/~/mean_ema"]["average"])
        [[ 2. 20.]]

    References:
        | Batch Normalization: Accelerating Deep Network Training (Ioffe & Szegedy, 2015)
        | https://arxiv.org/abs/1502.03167
    """

    def __init__(
        self,
        create_scale: bool,
        create_offset: bool,
        decay_rate: float,
        eps: float = 1e-5,
        scale_init: Initializer | None = None,
        offset_init: Initializer | None = None,
        axis: Sequence[int] | None = None,
        cross_replica_axis: str | Sequence[str] | None = None,
        cross_replica_axis_index_groups: Sequence[Sequence[int]] | None = None,
        data_format: str = "channels_last",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_initializers(scale=(create_scale, scale_init), offset=(create_offset, offset_init))
        if axis is not None:
            checked_axis(axis)
        self.create_scale = create_scale
        self.create_offset = create_offset
        self.eps = eps
        self.scale_init = scale_init or jnp.ones
        self.offset_init = offset_init or jnp.zeros
        self.axis = axis
        self.cross_replica_axis = cross_replica_axis
        self.cross_replica_axis_index_groups = cross_replica_axis_index_groups
        _index_groups(self)
        self.channel_index = hk.get_channel_index(data_format)
        known: Any = decay_rate  # a schedule or an array is taken as it is
        if isinstance(known, (int, float)) and not 0 <= known < 1:
            raise ValueError(
                f"decay_rate must be in [0, 1), the weight of the old statistics; found "
                f"{decay_rate}. With 1 nothing would ever be learnt of the data: write 0.9 or 0.99."
            )
        self.mean_ema = hk.ExponentialMovingAverage(decay_rate, name="mean_ema")
        self.var_ema = hk.ExponentialMovingAverage(decay_rate, name="var_ema")

    def __call__(
        self,
        inputs: Any,
        is_training: bool,
        test_local_stats: bool = False,
        scale: Any = None,
        offset: Any = None,
    ) -> Array:
        """Normalizes each channel.

        Args:
            inputs: The input, with its channels where `data_format` says.
            is_training: Whether the batch's statistics are used, and move the running ones.
            test_local_stats: Whether the batch's statistics are used when not training.
            scale: A scale that broadcasts to `inputs`, for a layer that has none.
            offset: An offset that broadcasts to `inputs`, for a layer that has none.

        Returns:
            The output, with the shape and dtype of `inputs`.

        Raises:
            ValueError: If `scale` or `offset` is given to a layer that has one, or does not
                broadcast, or a running statistic has another shape than the channels.
        """
        return apply_batch_norm(self, inputs, is_training, test_local_stats, scale, offset)


def apply_batch_norm(
    layer: Any,
    inputs: Any,
    is_training: bool,
    test_local_stats: bool = False,
    scale: Any = None,
    offset: Any = None,
) -> Array:
    """What the call of a batch norm does, of ours or of Haiku's own: both have its attributes."""
    x = as_input(inputs)
    axes = _reduced_axes(layer, x.ndim)
    scale, offset = affine_arrays(layer, x, _shape(layer, x, axes), scale=scale, offset=offset)
    if not (is_training or test_local_stats):
        mean, var = (_running(average, x, axes) for average in (layer.mean_ema, layer.var_ema))
        var = jnp.maximum(var, jnp.zeros_like(var))  # Haiku's one-pass variance may be below 0
        return normalize_by(Over(axes, layer.eps), x, mean, var, scale, offset)
    over = Over(axes, layer.eps, _names(layer), _index_groups(layer))
    y, moments = normalize_batch(over, x, scale, offset)
    if is_training:
        _remember(layer, over, x, moments)
    return y


def _reduced_axes(layer: Any, rank: int) -> tuple[int, ...]:
    if layer.axis is not None:
        return absolute_axes(layer.axis, rank)
    channels = layer.channel_index + (rank if layer.channel_index < 0 else 0)
    return tuple(i for i in range(rank) if i != channels)


def _shape(layer: Any, x: Array, axes: Sequence[int]) -> tuple[int, ...]:
    """The shape of scale and offset.

    An axis that is listed as a negative number is reduced, and yet varies in Haiku's parameters;
    so it does in ours, or checkpoints would not fit.
    """
    listed = layer.axis if isinstance(layer.axis, (list, tuple)) else axes
    return tuple(1 if i in listed else length for i, length in enumerate(x.shape))


def _names(layer: Any) -> Any:
    """The mapped axes of a layer; none where Haiku has none, also for an empty list or text."""
    names = layer.cross_replica_axis
    return (names if isinstance(names, str) else tuple(names)) if names else None


def _index_groups(layer: Any) -> IndexGroups:
    groups, names = layer.cross_replica_axis_index_groups, layer.cross_replica_axis
    if groups is None:
        return None
    if not names or not (isinstance(names, str) or len(names) == 1):
        raise ValueError(
            "`cross_replica_axis` name must be specified if `cross_replica_axis_index_groups` are "
            f"used, and one alone; found {names!r}. Name the mapped axis whose positions are "
            "grouped."
        )
    listed, once = grouped_positions(groups)
    if len({len(group) for group in listed}) != 1 or not once:
        raise ValueError(
            "cross_replica_axis_index_groups must hold each position of the axis once, in groups "
            f"of one size; found {groups!r}. For two groups of two write [[0, 1], [2, 3]]."
        )
    return listed


def _running(average: Any, x: Array, axes: Sequence[int]) -> Array:
    """A running statistic without the axes that are reduced."""
    value = average.average
    shape = tuple(1 if i in axes else length for i, length in enumerate(x.shape))
    if jnp.shape(value) != shape:
        raise ValueError(
            f"The running statistic {average.module_name} has shape {jnp.shape(value)}; inputs of "
            f"shape {x.shape} need {shape}. Use the state that was made for these channels."
        )
    return jnp.squeeze(value, axes)


def _remember(layer: Any, over: Over, x: Array, moments: Moments) -> None:
    """Moves the running mean by a batch of one element or more, the variance by one of two.

    The initial state holds the first such batch, as Haiku's does, and before it mean 0 and
    variance 1.
    """
    count: Any = math.prod(x.shape[axis] for axis in over.axes)
    if over.index_groups is not None:
        count *= len(over.index_groups[0])
    elif over.axis_name is not None:
        count *= devices_along(check_axis_name(over.axis_name))
    known = count if isinstance(count, int) else 2  # the sizes of an export may be symbols
    mean, var = storable(moments, over.axes)
    for average, value, start, needed in (
        (layer.mean_ema, mean, jnp.zeros_like, 1),
        (layer.var_ema, var, jnp.ones_like, 2),
    ):
        if known >= needed:
            average(value)
        elif hk.running_init():
            average(start(value))
