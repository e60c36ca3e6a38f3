"""Batch norm with Equinox's state."""

import warnings
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from ...functional.arguments import bound_names, check_axis_name
from ...functional.array_arguments import described
from ...functional.scalar_arguments import check_unit_interval, positive_integer
from ...kernels.mapped_axes import Names
from ..core import Over, along, moved, normalize_batch, normalize_by
from ..moving import normalize_moving, without_start
from .arguments import check_settings, dtype_of, sample
from .library import eqx

Array = jax.Array


class BatchNorm(eqx.nn.StatefulLayer):
    r"""Normalizes each channel over a batch, in place of `equinox.nn.BatchNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    It takes one sample, channels in front, under a `jax.vmap` whose `axis_name` it knows. In
    training, mode "batch" normalizes by the batch's statistics, mode "ema" by the running ones
    after the batch has moved them, :math:`\hat s \gets \alpha \hat s + (1 - \alpha) s`. Both
    normalize by the running ones with `inference`; before the first batch, by mean 0 and variance
    1. A batch of one element a channel leaves the state as it was.

    Args:
        input_size: The number of channels.
        axis_name: The name of the mapped axis of the batch, or several.
        eps: A numerical stability term :math:`\epsilon`, in units of the variance.
        channelwise_affine: Whether there is a weight :math:`\gamma` and a bias :math:`\beta` for
            each channel.
        momentum: The weight of the old running value, :math:`\alpha`.
        inference: Whether to normalize by the running statistics; `eqx.nn.inference_mode` sets it.
        dtype: The dtype of parameters and running statistics; None for the default float.
        mode: "batch" or "ema"; "legacy", the default, means "ema" and warns.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If the mode is unknown, momentum outside [0, 1] or epsilon negative.

    Example:
        >>> layer, state = eqx.nn.make_with_state(BatchNorm)(2, "batch", mode="batch")
        >>> x = jnp.array([[1.0, 10.0], [3.0, 30.0]])
        >>> batched = jax.vmap(layer, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        >>> y, state = batched(x, state)
        >>> print(y.round(3))
        [[-1. -1.]
         [ 1.  1.]]
        >>> y, _ = eqx.nn.inference_mode(layer)(x[0], state)
        >>> print(y.round(3))
        [-1. -1.]

    References:
        | Batch Normalization: Accelerating Deep Network Training (Ioffe & Szegedy, 2015)
        | https://arxiv.org/abs/1502.03167
    """

    weight: Array | None
    bias: Array | None
    ema_first_time_index: Any
    ema_state_index: Any
    batch_counter: Any
    batch_state_index: Any
    axis_name: Hashable | Sequence[Hashable]
    inference: bool
    input_size: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    channelwise_affine: bool = eqx.field(static=True)
    momentum: float = eqx.field(static=True)
    mode: Literal["ema", "batch"] = eqx.field(static=True)

    def __init__(
        self,
        input_size: int,
        axis_name: Hashable | Sequence[Hashable],
        eps: float = 1e-5,
        channelwise_affine: bool = True,
        momentum: float = 0.99,
        inference: bool = False,
        dtype: Any = None,
        mode: Literal["ema", "batch", "legacy"] = "legacy",
    ):
        if mode == "legacy":
            mode = "ema"
            warnings.warn(
                'BatchNorm without a mode means mode="ema", as in Equinox: training normalizes by '
                'the running statistics. Write mode="batch" for those of the batch, or mode="ema".',
                stacklevel=2,
            )
        if mode not in ("ema", "batch"):
            raise ValueError(
                f"mode must be 'ema' or 'batch'; found {mode!r}. With 'batch', training normalizes "
                "by the statistics of the batch."
            )
        if not check_axis_name(axis_name):
            raise ValueError(
                "axis_name must name the mapped axis of the batch; found None. Write the name that "
                "jax.vmap(..., axis_name='batch') gives it."
            )
        check_settings(eps, channelwise_affine=channelwise_affine, inference=inference)
        check_unit_interval(momentum, "momentum")
        size, dtype = positive_integer(input_size, "input_size"), dtype_of(dtype)
        zeros, ones = jnp.zeros(size, dtype), jnp.ones(size, dtype)
        self.weight, self.bias = (ones, zeros) if channelwise_affine else (None, None)
        self.ema_first_time_index = self.ema_state_index = None
        self.batch_counter = self.batch_state_index = None
        if mode == "ema":
            self.ema_first_time_index = eqx.nn.StateIndex(jnp.array(True))
            self.ema_state_index = eqx.nn.StateIndex((zeros, zeros))
        else:
            self.batch_counter = eqx.nn.StateIndex(jnp.array(0))
            self.batch_state_index = eqx.nn.StateIndex((zeros, ones))
        self.axis_name = axis_name
        self.inference = inference
        self.input_size = size
        self.eps = eps
        self.channelwise_affine = channelwise_affine
        self.momentum = momentum
        self.mode = mode

    @jax.named_scope("inox.BatchNorm")
    def __call__(
        self,
        x: Array,
        state: Any,
        *,
        key: Array | None = None,
        inference: bool | None = None,
    ) -> tuple[Array, Any]:
        """Normalizes one sample of a batch.

        Args:
            x: The input, with shape :math:`(C, *)`.
            state: The `eqx.nn.State` of the model.
            key: Ignored.
            inference: Whether to normalize by the running statistics; None for the layer's own.

        Returns:
            The output, with the shape and dtype of `x` (integers become the default float), and
            the new state.

        Raises:
            NameError: If `axis_name` is not bound, in training.
            TypeError: If the state isn't Equinox's.
            ValueError: If `x` has another number of channels, or the state lacks the layer's.
        """
        del key
        x = sample(x)
        if x.ndim == 0 or x.shape[0] != self.input_size:
            raise ValueError(
                f"x must have input_size={self.input_size} channels in front, (C, *), and no batch "
                f"axis; found shape {x.shape}. A batch goes through jax.vmap(layer, "
                f"axis_name={self.axis_name!r}, in_axes=(0, None), out_axes=(0, None))(x, state)."
            )
        names = self.axis_name
        names = tuple(names) if isinstance(names, (list, tuple)) else (names,)
        inference = self.inference if inference is None else inference
        if not inference:
            _check_bound(names)
        over = Over(tuple(range(1, x.ndim)), self.eps, names)
        stored = self._mean(state)
        if stored.shape != (self.input_size,):
            raise ValueError(
                f"state has running statistics of shape {stored.shape} for this BatchNorm of "
                f"{self.input_size} channels: it is that of another model. Pass the state that "
                "eqx.nn.make_with_state made together with this model, or one that came of it."
            )
        if jnp.iscomplexobj(x) and not jnp.issubdtype(stored.dtype, jnp.complexfloating):
            raise TypeError(
                f"x must be real where the running statistics are; found dtype {x.dtype}. Build "
                f"the layer with dtype=jnp.{x.dtype}."
            )
        affine = (self.weight, self.bias) if self.channelwise_affine else (None, None)
        scale, bias = (along(array, x, (0,)) for array in affine)
        normalized = self._by_ema if self.mode == "ema" else self._by_batch
        return normalized(over, x, state, bool(inference), scale, bias)

    def _mean(self, state: Any) -> Array:
        index = self.ema_state_index if self.mode == "ema" else self.batch_state_index
        return _entry(state, index)[0]

    def _by_ema(
        self, over: Over, x: Array, state: Any, inference: bool, scale: Any, bias: Any
    ) -> tuple[Array, Any]:
        first = _entry(state, self.ema_first_time_index)
        stored = _entry(state, self.ema_state_index)
        mean, var = _statistics(stored, x)
        if inference:
            mean = jnp.where(first, jnp.zeros_like(mean), mean)
            var = jnp.where(first, jnp.ones_like(var), var)
            return normalize_by(over, x, mean, var, scale, bias), state
        y, moments = normalize_moving(over, x, mean, var, self.momentum, first, scale, bias)
        seen = moments.count > jnp.ones_like(moments.count)
        new = (
            jnp.where(seen, value, old.astype(value.dtype))
            for value, old in ((moments.mean, mean), (moments.var, var))
        )
        state = state.set(self.ema_first_time_index, first & ~jnp.all(seen))
        return y, state.set(self.ema_state_index, _stored(new, stored))

    def _by_batch(
        self, over: Over, x: Array, state: Any, inference: bool, scale: Any, bias: Any
    ) -> tuple[Array, Any]:
        count = _entry(state, self.batch_counter)
        stored = _entry(state, self.batch_state_index)
        mean, var = _statistics(stored, x)
        if inference:
            mean, var = without_start(mean, var, self.momentum, count)
            return normalize_by(over, x, mean, var, scale, bias), state
        y, moments = normalize_batch(over, x, scale, bias)
        seen = jnp.all(moments.count > jnp.ones_like(moments.count))
        # One count serves the mean and the variance: where one can't move, neither does.
        new = (
            jnp.where(seen, value, old.astype(value.dtype))
            for value, old in zip(
                moved(mean, var, moments, self.momentum), (mean, var), strict=True
            )
        )
        state = state.set(self.batch_counter, jnp.where(seen, count + 1, count))
        return y, state.set(self.batch_state_index, _stored(new, stored))


def _check_bound(names: Names) -> None:
    """Equinox's own kind of error, with the cure."""
    try:
        bound_names(names)
    except ValueError as error:
        raise NameError(
            f"{error} Or normalize by the running statistics: eqx.nn.inference_mode(model)."
        ) from None


def _entry(state: Any, index: Any) -> Any:
    if not isinstance(state, eqx.nn.State):
        raise TypeError(
            f"state must be an eqx.nn.State; found {described(state)}. Make it with the model: "
            "model, state = eqx.nn.make_with_state(Model)(...)."
        )
    try:
        return state.get(index)
    except KeyError:
        raise ValueError(
            "state has no running statistics of this BatchNorm. Pass the state that "
            "eqx.nn.make_with_state made together with this model, or one that came of it."
        ) from None


def _statistics(stored: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
    """Mean and variance; a complex layer stores the variance as a complex number, too."""
    mean, var = stored
    return mean if jnp.iscomplexobj(x) else jnp.real(mean), jnp.real(var)


def _stored(new: Iterable[Array], old: tuple[Array, Array]) -> tuple[Array, ...]:
    """In the dtypes of the old."""
    return tuple(value.astype(like.dtype) for value, like in zip(new, old, strict=True))
