"""Batch norm, the layer with state."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...functional.arguments import (
    ArrayLike,
    AxisName,
    check_unit_interval,
    floating,
    positive_integer,
)
from ...functional.batch import batch_norm
from ...functional.moments import Moments
from ..parameter import Parameter
from ..state import State, StateEntry, StateKey, update_state
from .base import NormalizationLayer, static_number, value_of
from .pooled_moments import batch_moments, pool_in, pooling_key
from .running import Statistics, updated

Array = jax.Array


class BatchNorm(NormalizationLayer):
    r"""Creates a batch-normalization layer.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    The mean and variance are calculated over the batch and spatial axes. During training, the
    layer keeps running estimates of the mean and variance, which are then used for normalization
    during evaluation. The update rule for a running average statistic :math:`\hat{s}` is

    .. math:: \hat{s} \gets \alpha \hat{s} + (1 - \alpha) s

    where :math:`s` is the statistic calculated for the current batch (the variance is the biased
    one). The running mean starts at 0, the running variance at 1.

    The state stays as it was for a channel of which the batch holds nothing: an empty batch, or
    one that is masked out. A NaN or infinity in a channel makes its statistics, and with them its
    running statistics, NaN for good, unless `skip_nonfinite` is set.

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
        warmup: Whether the first batches are averaged equally: the momentum at batch t = 0, 1, …
            is min(momentum, t / (t + 1)), so evaluation agrees with training from the first batch.
        skip_nonfinite: Whether the running statistics of a channel are left as they were where
            those of the batch are not finite.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `channels` is below 1, epsilon negative or momentum outside [0, 1].

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
    """

    channels: int
    momentum: float | Array
    axis_name: AxisName
    warmup: bool
    training: bool
    frozen: bool
    skip_nonfinite: bool
    stats: StateEntry | StateKey
    batches: StateEntry | StateKey | None

    def __init__(
        self,
        channels: int,
        epsilon: float | Array = 1e-05,
        momentum: float | Array = 0.9,
        *,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
        axis_name: AxisName = None,
        warmup: bool = False,
        skip_nonfinite: bool = False,
    ) -> None:
        channels = positive_integer(channels, "channels")
        check_unit_interval(momentum, "momentum")
        if np.shape(momentum) not in ((), (channels,)):
            raise ValueError(
                f"momentum must be a scalar, or one value a channel of shape ({channels},); found "
                f"shape {np.shape(momentum)}. Map over several with jax.vmap."
            )
        super().__init__(epsilon, scale, bias)
        self.channels = channels
        self.momentum = static_number(momentum)
        self.axis_name = tuple(axis_name) if isinstance(axis_name, list) else axis_name
        self.skip_nonfinite = bool(skip_nonfinite)
        self.warmup = bool(warmup)
        self.training = True
        self.frozen = False
        self.stats = StateEntry(Statistics(jnp.zeros(channels), jnp.ones(channels)))
        self.batches = StateEntry(jnp.zeros(channels)) if warmup else None

    def __call__(
        self, x: ArrayLike, state: Mapping[str, Any], *, where: ArrayLike | None = None
    ) -> tuple[Array, State]:
        """Normalizes `x`.

        Args:
            x: The input tensor, with shape :math:`(N, *, C)`.
            state: The state dictionary.
            where: A boolean mask, broadcastable to `x`, of the elements that take part; the output
                is 0 elsewhere.

        Returns:
            The output tensor, with the shape and dtype of `x`, and the (updated) state dictionary.

        Raises:
            TypeError: If `x` is complex, `where` isn't boolean or `state` isn't a dict.
            ValueError: If `x` has no batch axis or another number of channels, `state` lacks the
                layer's entry, an operand does not broadcast to `x` or `axis_name` is not bound.
        """
        x = floating(x)
        self._check_input(x)
        running = self.running_statistics(state)
        if not self.training:
            scale, bias = value_of(self.scale), value_of(self.bias)
            options: dict[str, Any] = {"epsilon": self.epsilon, "where": where}
            return batch_norm(x, scale, bias, statistics=running, **options)[0], dict(state)
        batches = self._batches(state)
        pool = pool_in(state, self.stats, self.channels)  # there after calibration.accumulate
        y, moments = self._normalize(x, where, running, batches)
        if pool is None:
            return y, self.update_running(state, moments)
        key = pooling_key(self.stats)
        batch = batch_moments(x, moments, where, self.axis_name)
        return y, update_state(state, {key: pool.including(key, batch)})

    def _normalize(
        self, x: Array, where: ArrayLike | None, running: Statistics, batches: Array | None
    ) -> tuple[Array, Moments]:
        """The output in training mode, and the moments of the batch."""
        options: dict[str, Any] = {"epsilon": self.epsilon, "where": where}
        scale, bias = value_of(self.scale), value_of(self.bias)
        return batch_norm(x, scale, bias, axis_name=self.axis_name, **options)

    def update_running(self, state: Mapping[str, Any], moments: Moments) -> State:
        """Moves the running statistics as a batch with these moments does in training.

        Args:
            state: The state dictionary.
            moments: Count, mean and variance of the batch, with shape :math:`(C)`.

        Returns:
            The updated state dictionary.

        Raises:
            TypeError: If `state` isn't a dict.
            ValueError: If `state` lacks the layer's entry.
        """
        running, batches = self.running_statistics(state), self._batches(state)
        momentum = self.momentum if batches is None else self._momentum(batches)
        changed: dict[Any, Any] = {}
        changed[self.stats], seen = updated(running, moments, momentum, self.skip_nonfinite)
        if batches is not None:
            # float32 stops counting at 2**24, where the momentum has long been reached.
            changed[self.batches] = batches + seen.astype(batches.dtype)
        return update_state(state, changed)

    def _momentum(self, batches: Array) -> float | Array:
        """The momentum after so many batches: at first they are averaged equally."""
        equal = batches / (batches + jnp.ones_like(batches))
        return jnp.minimum(jnp.asarray(self.momentum, equal.dtype), equal)

    def running_statistics(self, state: Mapping[str, Any]) -> Statistics:
        """The running statistics in a state, also as a checkpoint library has left them.

        Args:
            state: The state dictionary.

        Returns:
            Mean and variance of each channel.

        Raises:
            TypeError: If `state` isn't a dict.
            ValueError: If `state` lacks the layer's entry, or it isn't one of this layer.
        """
        return _statistics(_entry(state, self.stats, "stats"), self.stats, self.channels)

    def _batches(self, state: Mapping[str, Any]) -> Array | None:
        return None if self.batches is None else _entry(state, self.batches, "batches")

    def _check_input(self, x: Array) -> None:
        if x.ndim < 2:
            raise ValueError(
                f"x must have a batch axis and a channel axis, (N, *, C); found shape {x.shape}. "
                "For a single sample add an axis, x[None]; under jax.vmap pass axis_name to pool "
                "over the mapped axis and give each call at least one row."
            )
        if x.shape[-1] != self.channels:
            raise ValueError(
                f"x must have {self.channels} channels, the last axis, as the layer was built with "
                f"channels={self.channels}; found shape {x.shape}. Move the channels last, or "
                f"build the layer with channels={x.shape[-1]}."
            )

    def _set_mode(self, mode: bool) -> None:
        self.training = mode and not self.frozen


def _entry(state: Any, key: Any, name: str) -> Any:
    """`state[key]`, or an error that tells what to do."""
    if isinstance(key, StateEntry):
        raise ValueError(
            f"state was not exported from this layer: its '{name}' still holds the values. Call "
            "model, state = inox.nn.export_state(model) once, and use the model that it returns."
        )
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be the dict that inox.nn.export_state returned; found "
            f"{type(state).__name__}. Call model, state = inox.nn.export_state(model)."
        )
    if key not in state:
        raise ValueError(
            f"state lacks the key {str(key)!r} of this layer; it has {[str(k) for k in state]}. "
            "Pass the state that model, state = inox.nn.export_state(model) returned with this "
            "model, or the newest one that a call returned."
        )
    return state[key]


def _statistics(entry: Any, key: Any, channels: int) -> Statistics:
    """The running statistics, also where a checkpoint has made a dict or a list of them."""
    if isinstance(entry, Mapping) and set(entry) == {"mean", "var"}:
        entry = Statistics(entry["mean"], entry["var"])
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(entry)]
    if not isinstance(entry, (tuple, list)) or shapes != [(channels,)] * 2:
        raise ValueError(
            f"state[{str(key)!r}] must be Statistics(mean, var), arrays of shape ({channels},), "
            f"one value a channel; found {type(entry).__name__} with arrays of shapes {shapes}. It "
            "may be the state of another model: export with a prefix, "
            "inox.nn.export_state(model, prefix='first'), to keep two apart."
        )
    return Statistics(*map(jnp.asarray, entry))
