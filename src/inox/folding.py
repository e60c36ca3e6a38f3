r"""Batch norm folded into the linear map before it.

In evaluation mode a batch norm is an affine map of each channel, with constants. After a linear
map or a convolution, with a kernel W whose last axis are the output channels and a bias b, the two
are again one such map:

.. math:: (W x + b - \hat{\mu}) s + \beta = (W s) x + (b - \hat{\mu}) s + \beta, \qquad
    s = \frac{\gamma}{\sqrt{\hat{v} + \epsilon}}

>>> import jax, jax.numpy as jnp, inox.nn as nn
>>> layer, state = nn.export_state(nn.BatchNorm(2, scale=jnp.array([1.0, 3.0])))
>>> layer.train(False)
>>> kernel, bias = fold(layer, state, jnp.ones((5, 2)))
>>> x = jax.random.normal(jax.random.key(0), (4, 5))
>>> y, _ = layer(x @ jnp.ones((5, 2)), state)
>>> print(abs(x @ kernel + bias[None] - y).max() < 1e-5)
True
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .functional.arguments import ArrayLike, floating
from .functional.reciprocal_root import reciprocal_root
from .nn import BatchNorm, Parameter

__all__ = ["fold"]

Array = jax.Array
Apply = Callable[[Any, Any, Any], Any]


def fold(
    layer: BatchNorm,
    state: Mapping[str, Any],
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    check: tuple[Apply, Any] | None = None,
    tolerance: float | None = None,
) -> tuple[Array, Array]:
    r"""Folds a batch norm into the kernel and bias of the map before it.

    .. math:: W' = W s, \qquad b' = (b - \hat{\mu}) s + \beta, \qquad
        s = \frac{\gamma}{\sqrt{\hat{v} + \epsilon}}

    All is computed in float32 (float64 where the kernel is), and rounded to the dtype of the
    kernel once. The map without the norm then gives what the map and the norm gave: exactly in
    real numbers, and in floating point up to rounding. Where the running mean is large against
    the deviation, :math:`W' x` and :math:`b'` are large numbers that cancel; then, and with
    kernels in half precision, look at the agreement on data of your own: `check`.

    Args:
        layer: A batch norm in evaluation mode.
        state: Its state.
        kernel: The kernel of a linear map, :math:`(I, C)`, or of a convolution, :math:`(*, I, C)`:
            any array whose last axis are the output channels.
        bias: The bias of the map, with one value a channel: :math:`(C)` or with leading axes of
            size 1. None for 0.
        check: A pair (apply, x) of a function, `apply(kernel, bias, x)`, that computes the map, and
            data to compare it on. A missing bias is handed to it as None.
        tolerance: The largest difference that `check` lets pass, relative to the largest magnitude
            of the output. 1e-5 is a good choice for float32.

    Returns:
        The new kernel, with the shape and dtype of the old one, and the new bias, with those of
        the old one, or :math:`(C)` and the dtype of the kernel.

    Raises:
        TypeError: If `layer` is no batch norm, an array isn't one of real numbers, `check` is no
            pair of a function and its input, or is asked for under `jax.jit`.
        ValueError: If the layer is in training mode, the number of channels does not fit, the
            scale or bias of the layer varies over more than channels, only one of `check` and
            `tolerance` is given, `tolerance` is negative or not finite, or the largest difference
            is above it.

    Example:
        >>> import inox.nn as nn
        >>> layer, state = nn.export_state(
        ...     nn.BatchNorm(2, epsilon=0.0, scale=jnp.array([1.0, 2.0]))
        ... )
        >>> layer.train(False)
        >>> apply = lambda kernel, bias, x: x @ kernel if bias is None else x @ kernel + bias[None]
        >>> kernel, bias = fold(
        ...     layer, state, jnp.eye(2), check=(apply, jnp.ones((3, 2))), tolerance=1e-5
        ... )
        >>> print(kernel, bias)
        [[1. 0.]
         [0. 2.]] [0. 0.]

    References:
        | Quantization and Training of Neural Networks (Jacob et al., 2018)
        | https://arxiv.org/abs/1712.05877
    """
    if not isinstance(layer, BatchNorm):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"layer must be a batch norm; found {type(layer).__name__}. Other norms depend on the "
            "data in evaluation mode too, and can't be folded."
        )
    if layer.training:
        raise ValueError(
            "layer is in training mode, in which it normalizes by the statistics of the batch. "
            "Switch it to evaluation with layer.train(False)."
        )
    if (check is None) != (tolerance is None):
        raise ValueError(
            "check and tolerance belong together; found only one of them. Write "
            "check=(apply, x), tolerance=1e-5."
        )
    running = layer.running_statistics(state)
    weights = floating(_value(kernel), "kernel")
    channels = layer.channels
    if weights.ndim < 2 or weights.shape[-1] != channels:
        raise ValueError(
            f"kernel must have the {channels} channels of the layer as its last axis, and an axis "
            f"of inputs; found shape {weights.shape}. Move the output channels last."
        )
    offset = None if bias is None else floating(_value(bias), "bias")
    if offset is not None and _not_by_channel(offset.shape, channels):
        raise ValueError(
            f"bias must have one value a channel, shape ({channels},), with leading axes of size 1 "
            f"at most; found shape {offset.shape}."
        )
    if check is None or tolerance is None:
        return _folded(layer, running, weights, offset)
    _require_comparable(check, tolerance, (weights, offset, layer.scale, layer.bias, *running))
    folded = _folded(layer, running, weights, offset)
    _compare(layer, state, (weights, offset), folded, check, tolerance)
    return folded


def _value(array: Any) -> Any:
    return array.value if isinstance(array, Parameter) else array


def _not_by_channel(shape: tuple[int, ...], channels: int) -> bool:
    return shape[-1:] != (channels,) or any(length != 1 for length in shape[:-1])


def _folded(
    layer: BatchNorm, running: Any, kernel: Array, bias: Array | None
) -> tuple[Array, Array]:
    wide = jnp.dtype(jnp.float64 if kernel.dtype == jnp.float64 else jnp.float32)
    mean, var = (leaf.astype(wide) for leaf in running)
    factor = reciprocal_root(var + jnp.asarray(layer.epsilon, wide))
    scale = _by_channel(layer.scale, "scale", layer.channels, wide)
    if scale is not None:
        factor = factor * scale
    start = jnp.zeros_like(mean) if bias is None else jnp.reshape(bias, mean.shape).astype(wide)
    offset = (start - mean) * factor
    beta = _by_channel(layer.bias, "bias", layer.channels, wide)
    if beta is not None:
        offset = offset + beta
    product = kernel.astype(wide) * jnp.reshape(factor, (1,) * (kernel.ndim - 1) + factor.shape)
    if bias is None:
        return product.astype(kernel.dtype), offset.astype(kernel.dtype)
    return product.astype(kernel.dtype), jnp.reshape(offset, bias.shape).astype(bias.dtype)


def _by_channel(parameter: Parameter | None, name: str, channels: int, dtype: Any) -> Array | None:
    """A scale or bias of the layer as one value a channel."""
    if parameter is None:
        return None
    value = parameter()
    shape = value.shape or (1,)
    if shape[-1] not in (1, channels) or any(length != 1 for length in shape[:-1]):
        raise ValueError(
            f"layer has a {name} of shape {value.shape}, which varies over more than its "
            f"{channels} channels. A kernel holds one factor a channel: it can't be folded."
        )
    return jnp.broadcast_to(jnp.reshape(value, shape[-1:]), (channels,)).astype(dtype)


def _require_comparable(check: Any, tolerance: float, arrays: Sequence[Any]) -> None:
    """Raises where the check can't be made."""
    if not isinstance(check, (tuple, list)) or len(check) != 2 or not callable(check[0]):
        raise TypeError(
            f"check must be a pair (apply, x), of a function apply(kernel, bias, x) and its input; "
            f"found {type(check).__name__}."
        )
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(
            f"tolerance must be a finite number from 0; found {tolerance!r}. Give the largest "
            "difference allowed, as a share of the largest output, such as 1e-5."
        )
    if any(isinstance(_value(array), Tracer) for array in (*arrays, check[1])):
        raise TypeError(
            "check compares numbers, which are not known under jax.jit. Fold outside of it, or "
            "leave check out."
        )


def _compare(
    layer: BatchNorm,
    state: Mapping[str, Any],
    plain: tuple[Array, Array | None],
    folded: tuple[Array, Array],
    check: tuple[Apply, Any],
    tolerance: float,
) -> None:
    """Raises where the folded map is further from the map and the norm than the tolerance."""
    apply, x = check
    expected = np.asarray(layer(apply(*plain, x), state)[0], np.float64)
    found = np.asarray(apply(*folded, x), np.float64)
    if found.shape != expected.shape:
        raise ValueError(
            f"check's apply must give one shape with and without a bias; found {found.shape} with "
            f"the folded and {expected.shape} with the old kernel."
        )
    difference = np.abs(found - expected)
    largest = np.abs(expected).max(initial=0.0) or 1.0
    worst = float(np.max(difference / largest, initial=0.0))
    if not worst <= tolerance:  # NaN is no agreement
        place = np.unravel_index(np.argmax(difference), difference.shape)
        raise ValueError(
            f"tolerance {tolerance:g} is exceeded: folded and unfolded output differ by up to "
            f"{worst:.3g} of the largest output {largest:.3g}, most in channel {int(place[-1])}. "
            "Fold in float32, raise the tolerance, or leave the norm where it is."
        )
