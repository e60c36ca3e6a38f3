"""Batch norm, the layer with state."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...functional.arguments import AxisName
from ...functional.array_arguments import ArrayLike
from ...functional.batch import batch_moments, elements_with_weight, given_moments, normalized
from ...functional.batch_arguments import Batch, checked_batch
from ...functional.device_group_arguments import ArgumentGroups, static_index_groups
from ...functional.moments import public_moments
from ...functional.pooling import SplitMoments
from ...functional.scalar_arguments import check_switch, positive_integer
from ...functional.virtual_batches import normalized_by_groups
from ...kernels.mapped_axes import IndexGroups
from ..parameter import Parameter
from ..state import State, StateEntry
from . import entries
from .base import static_names
from .batch_arguments import check_by_channel, check_channels, check_several_elements, mode_of_call
from .channel_axis import along_channels, check_along_channels, pooled_axes, static_channel_axis
from .containers import like
from .pooled_moments import pool_in, pooling_key
from .remembering import RememberingLayer
from .running import Statistics

Array = jax.Array


class BatchNorm(RememberingLayer):
    r"""Creates a batch-normalization layer.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    The mean and variance are calculated over the batch and spatial axes. During training, the
    layer keeps running estimates of the mean and variance, which are then used for normalization
    during evaluation. The update rule for a running average statistic :math:`\hat{s}` is

    .. math:: \hat{s} \gets \alpha \hat{s} + (1 - \alpha) s

    where :math:`s` is the statistic calculated for the current batch (the variance is the biased
    one). The running mean starts at 0, the running variance at 1.

    One element has no variance, so in training mode a batch with one element a channel is refused.
    Where that depends on a mask, or on other devices, the state stays as it was for a channel of
    which the batch holds one element or none. A NaN or infinity in a channel makes its statistics,
    and with them its running statistics, NaN for good, unless `skip_nonfinite` is set. The
    variance of finite numbers may be too large for float32: the largest float32 is then taken.

    Scale and bias are what is trained. Epsilon and momentum take no gradient, arrays or not.

    The mode is the layer's own, set by `train`, or that of one call, given as `training`. The
    layer's own is part of its structure, changed in place: a compiled function that closes over the
    layer keeps the mode that it was compiled in, and copies in two modes are trees of two
    structures. A call with `training` has neither trap. A layer that :func:`freeze` has frozen is
    in evaluation mode whatever `training` says.

    Args:
        channels: The number of channels :math:`C`.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance: a float
            (static) or an array (a leaf).
        momentum: The momentum :math:`\alpha \in [0, 1]` for the running estimates, the weight of
            the old value: a float (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        bias: The bias :math:`\beta`, broadcast against `x` from the right; None for 0.
        axis_name: Names of mapped axes (`shard_map`, `vmap`) over which the statistics are pooled
            as well, weighted by count. Without it they are those of the local batch.
        axis_index_groups: Groups of positions of the one mapped axis, ((0, 1), (2, 3)) for example,
            of which each is pooled by itself, and remembers for itself; None for all together.
        warmup: Whether the first batches are averaged equally: the momentum at batch t = 0, 1, …
            is min(momentum, t / (t + 1)), so evaluation agrees with training from the first batch.
        skip_nonfinite: Whether the running statistics of a channel are left as they were where
            those of the batch are not finite.
        virtual_batch: How many samples, neighbours along the first axis, are normalized together
            in training (ghost batches); None for all. The running statistics are those of all
            samples, over all of `axis_name`, whatever the groups.
        channel_axis: The axis of the channels: 1 for images with their channels first. Scale and
            bias, of shape :math:`(C)`, lie along it.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `channels` or `virtual_batch` is below 1, epsilon negative, momentum outside
            [0, 1], scale or bias don't broadcast to the channels, there are groups without one
            `axis_name`, or that don't hold each position once, or the implementation is not known.

    Example:
        >>> from inox.nn import export_state
        >>> layer, state = export_state(BatchNorm(3))
        >>> x = 5 + 2 * jax.random.normal(jax.random.key(0), (64, 3))
        >>> y, state = layer(x, state)
        >>> print(abs(y.mean(axis=0)).max() < 1e-6)
        True
        >>> print(state[layer.stats].mean.round(1))
        [0.5 0.5 0.5]
        >>> layer.train(False)
        >>> y, state = layer(x, state)

    References:
        | Batch Normalization: Accelerating Deep Network Training (Ioffe & Szegedy, 2015)
        | https://arxiv.org/abs/1502.03167
        | Train longer, generalize better (Hoffer et al., 2017), of virtual batches
        | https://arxiv.org/abs/1705.08741
    """

    axis_name: AxisName
    axis_index_groups: IndexGroups
    warmup: bool
    virtual_batch: int | None
    channel_axis: int

    def __init__(
        self,
        channels: int,
        epsilon: float | Array = 1e-05,
        momentum: float | Array = 0.9,
        *,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
        axis_name: AxisName = None,
        axis_index_groups: ArgumentGroups = None,
        warmup: bool = False,
        skip_nonfinite: bool = False,
        virtual_batch: int | None = None,
        channel_axis: int = -1,
        implementation: str | None = None,
    ) -> None:
        channels = positive_integer(channels, "channels")
        super().__init__(epsilon, scale, bias, implementation)
        # These are checked where they are assigned, here and later.
        self.channels = channels
        self.momentum = momentum
        self.virtual_batch = virtual_batch
        self.channel_axis = channel_axis
        self.skip_nonfinite = skip_nonfinite
        self.warmup = warmup
        check = check_by_channel if self.channel_axis == -1 else check_along_channels
        for name, parameter in (("scale", self.scale), ("bias", self.bias)):
            check(parameter, name, channels)
        self.axis_name = static_names(axis_name)
        self.axis_index_groups = static_index_groups(axis_index_groups, axis_name)
        self.training = True
        self.frozen = False
        self.stats = StateEntry(Statistics(jnp.zeros(channels), jnp.ones(channels)))
        self.batches = StateEntry(jnp.zeros(channels)) if self.warmup else None

    def _converted(self, name: str, value: Any) -> Any:
        if name in ("warmup", "skip_nonfinite"):
            check_switch(value, name)
            return bool(value)
        if name == "virtual_batch" and value is not None:
            value = positive_integer(value, name)
            static_channel_axis(self.__dict__.get("channel_axis", -1), value)
            return value
        if name == "channel_axis":
            return static_channel_axis(value, self.__dict__.get("virtual_batch"))
        return super()._converted(name, value)

    def __call__(
        self,
        x: ArrayLike,
        state: Mapping[str, Any],
        *,
        where: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        training: bool | None = None,
    ) -> tuple[Array, State]:
        """Normalizes `x`.

        Args:
            x: The input tensor, with shape :math:`(N, *, C)`, or the channels at `channel_axis`.
            state: The state dictionary.
            where: A boolean mask with the rank of `x`, of the elements that take part; the output
                is 0 elsewhere.
            weights: How much each element counts in training, in what normalizes and in what is
                remembered: numbers from 0 on with the rank of `x`, of its sizes or 1. An element
                of weight 0 is normalized as all others are, but a NaN or infinity there counts as
                0. Whether a channel has the two elements that move the state is asked of those
                with a weight above 0.
            training: Whether this call is one of training mode; None for the layer's own mode. A
                frozen layer stays in evaluation mode.

        Returns:
            The output tensor, with the shape and dtype of `x`, and the (updated) state dictionary,
            in the containers of `state`.

        Raises:
            TypeError: If `x` is complex, `where` isn't boolean or `weights` are, `training` no
                bool, `state` isn't a dict, or holds integers, or in training mode numbers of a
                half type.
            ValueError: If `x` has no batch axis or another number of channels, or in training mode
                one element a channel or a number of samples that `virtual_batch` doesn't divide,
                `state` lacks the layer's entry, an operand does not broadcast to `x`, a weight is
                negative or not finite, or `axis_name` is not bound.
        """
        training = mode_of_call(training, self.training) and not self.frozen
        batch = checked_batch(
            x,
            where=where,
            weights=weights,
            axis_name=self.axis_name if training else None,
            axis_index_groups=self.axis_index_groups if training else None,
            axis=pooled_axes(x, self.channel_axis),
            **self._operands_for(x),
        )
        check_channels(batch, self.channels, self.channel_axis)
        if not training:
            moments = given_moments(batch, self.running_statistics(state))
            y = normalized(batch, moments, given=True)
            return y, like(state, {})
        running, batches = self._trained(state)
        pool = pool_in(state, self.stats, self.channels)  # there after calibration.accumulate
        if pool is None:
            check_several_elements(batch, self.virtual_batch)
        y, moments = self._normalize(batch, running, batches)
        elements = None if batch.weights is None else elements_with_weight(batch)
        if pool is None:
            found = public_moments(moments, batch.axes)
            return y, self._moved(state, running, batches, found, elements)
        key = pooling_key(self.stats)
        if self.channel_axis != -1:
            moments = SplitMoments(*(jnp.squeeze(array, batch.axes) for array in moments))
        return y, entries.replaced(state, {key: pool.including(key, moments, elements)})

    def _operands_for(self, x: ArrayLike) -> dict[str, Any]:
        """The operands, scale and bias along the channels of `x`."""
        operands = self._operands()
        for name in ("scale", "bias"):
            operands[name] = along_channels(operands[name], x, self.channel_axis)
        return operands

    def _normalize(
        self, batch: Batch, running: Statistics, batches: Array | None
    ) -> tuple[Array, SplitMoments]:
        """The output in training mode, and the moments of the batch."""
        if self.virtual_batch is not None:
            return normalized_by_groups(batch, self.virtual_batch)
        moments = batch_moments(batch)
        return normalized(batch, moments), moments
