r"""Batch norm folded into the linear map before it.

In evaluation mode a batch norm is an affine map of each channel, with constants. After a linear
map or a convolution, with a kernel W, one axis of which are the output channels (the last, or
`axis`), and a bias b, the two are again one such map:

.. math:: (W x + b - \hat{\mu}) s + \beta = (W s) x + (b - \hat{\mu}) s + \beta, \qquad
    s = \frac{\gamma}{\sqrt{\hat{v} + \epsilon}}
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..functional.array_arguments import ArrayLike
from ..functional.reciprocal_root import reciprocal_root
from ..kernels.arithmetic import accumulator
from ..nn import BatchNorm
from .arguments import by_channel, floats, one_axis
from .comparison import LinearMap, checked_tolerance, compare, refuse_tracers

Array = jax.Array


def fold(
    layer: BatchNorm,
    state: Mapping[str, Any],
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    axis: int | None = None,
    check: tuple[LinearMap, Any] | None = None,
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

    Which axis of a kernel are the output channels, its shape can't tell where another has that
    length too, and folded along the wrong one, the map is wrong without a sign of it. The layouts:

    ======================================================  ====================  ========
    map                                                     kernel                `axis`
    ======================================================  ====================  ========
    `x @ kernel` (Flax, Haiku, Keras)                       :math:`(I, C)`        -1
    `kernel @ x` (Equinox, PyTorch)                         :math:`(C, I)`        0
    convolution, grouped or depthwise too, channels last    :math:`(*, I, C)`     -1
    convolution in Equinox (transposed, too) and PyTorch    :math:`(C, I, *)`     0
    transposed convolution                                  :math:`(*, I, C)`     -1
    with `transpose_kernel=True`, and in Haiku and Keras    :math:`(*, C, I)`     -2
    transposed convolution in PyTorch                       :math:`(I, C, *)`     1
    ======================================================  ====================  ========

    Args:
        layer: A batch norm in evaluation mode.
        state: Its state.
        kernel: The kernel of a linear map or a convolution, an array of floating-point numbers.
        bias: The bias of the map, with one value a channel: :math:`(C)`, or with axes of size 1
            beside. None for 0.
        axis: The axis of `kernel` with the output channels. None for the last one; a convolution's
            kernel that has their number along another axis, too, is then refused unless there is
            a `check`. A kernel of two axes is taken as :math:`(I, C)`, square or not.
        check: A pair (apply, x) of a function, `apply(kernel, bias, x)`, that computes the map,
            with the channels of its result where the layer has them (last, or at its
            `channel_axis`), and data to compare it on. A missing bias is handed to it as None.
        tolerance: The largest difference that `check` lets pass, relative to the largest magnitude
            of the output. 1e-5 is a good choice for float32.

    Returns:
        The new kernel, with the shape and dtype of the old one, and the new bias, with those of
        the old one, or :math:`(C)` and the dtype of the kernel.

    Raises:
        TypeError: If `layer` is no batch norm, an array holds no floating-point numbers (fold, then
            quantize), `axis` is no integer, `tolerance` no number, `check` no pair of a function
            and its input, or there is a check under `jax.jit`.
        ValueError: If the layer is in training mode, the number of channels does not fit, the axis
            of output channels can't be told, the scale or bias of the layer varies over more than
            channels, only one of `check` and `tolerance` is given, `tolerance` is negative or not
            finite, or the largest difference is above it.

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
    if not isinstance(layer, BatchNorm):
        raise TypeError(
            f"layer must be a batch norm; found {type(layer).__name__}. Other norms depend on the "
            "data in evaluation mode too, and can't be folded."
        )
    if layer.training:
        raise ValueError(
            "layer is in training mode, in which it normalizes by the statistics of the batch. "
            "Switch it to evaluation with layer.train(False)."
        )
    largest = checked_tolerance(check, tolerance)
    running = layer.running_statistics(state)
    weights = floats(kernel, "kernel")
    place = _channel_axis(weights.shape, layer.channels, axis, checked=check is not None)
    offset = None if bias is None else floats(bias, "bias")
    if offset is not None and {offset.size, max(offset.shape, default=0)} != {layer.channels}:
        raise ValueError(
            f"bias must have one value a channel, shape ({layer.channels},), with axes of size 1 "
            f"beside it at most; found shape {offset.shape}."
        )
    if check is None or largest is None:
        return _folded(layer, running, weights, offset, place)
    refuse_tracers((weights, offset, layer, running, check[1]))
    folded = _folded(layer, running, weights, offset, place)
    apply, x = check
    unfolded = layer(apply(weights, offset, x), state)[0]
    compare(unfolded, apply(*folded, x), largest, layer.channel_axis)
    return folded


def _channel_axis(shape: tuple[int, ...], channels: int, axis: Any, *, checked: bool) -> int:
    """The axis of output channels, counted from 0."""
    rank = len(shape)
    if rank < 2:
        raise ValueError(f"kernel must have an axis of inputs and one of outputs; found {shape}.")
    place = one_axis(-1 if axis is None else axis, shape, "output channels")
    if shape[place] != channels:
        named = "last" if axis is None else f"axis={axis}"
        raise ValueError(
            f"kernel must have the {channels} channels of the layer along the axis of its output "
            f"channels, {named}; found shape {shape}. Tell the axis, axis=-2 for example, or move "
            "the output channels last. Where they take two axes, reshape these to one."
        )
    # A square kernel of a linear map is taken as documented: `x @ kernel` is what it is for in
    # JAX. Among convolutions' kernels both orders are in use, even within JAX: a transposed one
    # with transpose_kernel=True has the outputs before the inputs. A check tells which it was.
    square = channels > 1 and shape.count(channels) > 1
    if axis is None and not checked and rank > 2 and square:
        raise ValueError(
            f"kernel of shape {shape} has {channels} channels along more than one axis, so which "
            "are the output channels can't be told. Write axis=-1 for the last, axis=-2 for the "
            "kernel of a transposed convolution with transpose_kernel=True, or let "
            "check=(apply, x), tolerance=1e-5 compare the maps."
        )
    return place


def _folded(
    layer: BatchNorm, running: Any, kernel: Array, bias: Array | None, axis: int
) -> tuple[Array, Array]:
    wide = accumulator(kernel.dtype)
    mean, var = (leaf.astype(wide) for leaf in running)
    factor = reciprocal_root(var + jnp.asarray(layer.epsilon, wide))
    scale = by_channel(layer.scale, "scale", layer.channels, wide)
    if scale is not None:
        factor = factor * scale
    start = jnp.zeros_like(mean) if bias is None else jnp.reshape(bias, mean.shape).astype(wide)
    offset = (start - mean) * factor
    beta = by_channel(layer.bias, "bias", layer.channels, wide)
    if beta is not None:
        offset = offset + beta
    along = tuple(n if place == axis else 1 for place, n in enumerate(kernel.shape))
    product = kernel.astype(wide) * jnp.reshape(factor, along)
    if bias is None:
        return product.astype(kernel.dtype), offset.astype(kernel.dtype)
    return product.astype(kernel.dtype), jnp.reshape(offset, bias.shape).astype(bias.dtype)
