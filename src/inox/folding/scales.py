r"""Scale and bias of a layer or RMS norm folded into the linear map after it.

The norm standardizes x to :math:`\hat x`, scales it and shifts it; a linear map with kernel W and
bias b follows. The last two are one such map:

.. math:: (\hat x \odot \gamma + \beta) W + b = \hat x (\gamma \odot W) + (\beta W + b)

where each row of W, an input, is multiplied by its scale.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from ..functional.array_arguments import ArrayLike
from ..kernels.arithmetic import accumulator
from ..nn import LayerNorm, RMSNorm
from .arguments import by_channel, floats, one_axis
from .comparison import LinearMap, checked_tolerance, compare, refuse_tracers

Array = jax.Array
Norm = TypeVar("Norm", LayerNorm, RMSNorm)


def fold_scale(
    norm: Norm,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    axis: int | None = None,
    check: tuple[LinearMap, Any] | None = None,
    tolerance: float | None = None,
) -> tuple[Norm, Array, Array | None]:
    r"""Folds scale and bias of a layer or RMS norm into the linear map after it.

    .. math:: W' = \gamma \odot W, \qquad b' = \beta W + b

    with the offset of the scale, where RMS norm has one, added to :math:`\gamma`. The map after
    the norm that comes back gives what it gave before: exactly in real numbers, and in floating
    point up to rounding. All is computed in float32 (float64 where the kernel is), and rounded to
    the dtype of the kernel once.

    Where several maps follow one norm (queries, keys and values; a gate and what it lets
    through), fold each of them with the norm as it was: the norms that come back are the same.
    What else reads the output of the norm, a residual connection for example, would miss its
    scale. Positions that a mask (`where`) leaves out have an output of 0 from either norm, so
    where :math:`\beta` isn't 0 the map gives :math:`b'` for them in place of b.

    ===================================================  ====================  ==================
    map                                                  kernel                `axis`
    ===================================================  ====================  ==================
    `x @ kernel` (Flax, Haiku, Keras)                    :math:`(I, O)`        -2, or None
    `kernel @ x` (Equinox, PyTorch)                      :math:`(O, I)`        -1
    to several heads (Flax's attention)                  :math:`(I, H, D)`     0
    ===================================================  ====================  ==================

    Args:
        norm: The norm, which is left as it is.
        kernel: The kernel of the map, an array of floating-point numbers.
        bias: The bias of the map, with one value for each output. None for 0.
        axis: The axis of `kernel` with the inputs, which are the channels of the norm; all others
            are outputs. None for the first of two axes; a kernel of more needs it. A square kernel
            of two axes is taken as :math:`(I, O)`.
        check: A pair (apply, x) of a function, `apply(kernel, bias, y)`, that computes the map of
            the norm's output, and an input of the norm to compare on. A missing bias is handed to
            it as None.
        tolerance: The largest difference that `check` lets pass, relative to the largest magnitude
            of the output. 1e-5 is a good choice for float32.

    Returns:
        The norm without scale and bias; the new kernel, with the shape and dtype of the old one;
        and the new bias, with those of the old one, or one value for each output in the dtype of
        the kernel. It is None where neither the norm nor the map has a bias.

    Raises:
        TypeError: If `norm` is no layer or RMS norm, an array holds no floating-point numbers
            (fold, then quantize), `axis` is no integer, `tolerance` no number, `check` no pair of
            a function and its input, or there is a check under `jax.jit`.
        ValueError: If the number of channels does not fit, the axis of the inputs can't be told,
            the scale or bias of the norm varies over more than channels, only one of `check` and
            `tolerance` is given, `tolerance` is negative or not finite, or the largest difference
            is above it.

    Example:
        >>> norm = LayerNorm(scale=jnp.array([1.0, 2.0]), bias=jnp.array([0.0, 1.0]))
        >>> apply = lambda kernel, bias, y: y @ kernel if bias is None else y @ kernel + bias[None]
        >>> x = jnp.array([[1.0, 4.0], [2.0, -3.0]])
        >>> plain, kernel, bias = fold_scale(norm, jnp.eye(2), check=(apply, x), tolerance=1e-5)
        >>> print(kernel, bias, plain.scale)
        [[1. 0.]
         [0. 2.]] [0. 1.] None

    References:
        | SliceGPT: Compress Large Language Models by Deleting Rows and Columns (Ashkboos et al.,
          2024)
        | https://arxiv.org/abs/2401.15024
    """
    if not isinstance(norm, (LayerNorm, RMSNorm)):
        raise TypeError(
            f"norm must be a layer or RMS norm; found {type(norm).__name__}. A batch norm is "
            "folded into the map before it, with fold."
        )
    largest = checked_tolerance(check, tolerance)
    weights = floats(kernel, "kernel")
    place = _input_axis(weights.shape, axis)
    wide = accumulator(weights.dtype)
    channels = weights.shape[place]
    _check_channels(norm, channels)
    scale = by_channel(norm.scale, "scale", channels, wide, "norm")
    if scale is not None and isinstance(norm, RMSNorm):
        scale = scale + jnp.asarray(norm.scale_offset, wide)
    shift = by_channel(norm.bias, "bias", channels, wide, "norm")
    offset = None if bias is None else _bias(bias, weights.shape, place)
    if check is not None:
        refuse_tracers((weights, offset, norm, check[1]))
    plain = _without_scale(norm)
    folded = _folded(scale, shift, weights, offset, place)
    if check is not None and largest is not None:
        apply, x = check
        compare(apply(weights, offset, norm(x)), apply(*folded, plain(x)), largest)
    return plain, *folded


def _input_axis(shape: tuple[int, ...], axis: Any) -> int:
    """The axis of the inputs, counted from 0."""
    if len(shape) < 2:
        raise ValueError(f"kernel must have an axis of inputs and one of outputs; found {shape}.")
    if axis is None and len(shape) > 2:
        raise ValueError(
            f"axis must tell which axis of kernel of shape {shape} has the inputs, where there are "
            "more than two; found None. Write axis=0 for (I, H, D), a map to several heads."
        )
    return one_axis(-2 if axis is None else axis, shape, "inputs")


def _check_channels(norm: LayerNorm | RMSNorm, channels: int) -> None:
    """Raises where the norm has another number of channels than the kernel has inputs."""
    for name, parameter in (("scale", norm.scale), ("bias", norm.bias)):
        shape = () if parameter is None else parameter().shape
        if shape and shape[-1] not in (1, channels):
            raise ValueError(
                f"kernel has {channels} inputs, and the {name} of norm has shape {shape}. Tell "
                "which axis of the kernel has the inputs: axis=-1 for `kernel @ x`."
            )


def _bias(bias: ArrayLike, shape: tuple[int, ...], place: int) -> Array:
    """A bias, checked to have one number for each output."""
    offset = floats(bias, "bias")
    outputs = shape[:place] + shape[place + 1 :]
    if [n for n in offset.shape if n != 1] != [n for n in outputs if n != 1]:
        raise ValueError(
            f"bias must have one value for each output, shape {outputs}, with axes of size 1 "
            f"beside it at most; found shape {offset.shape}. `axis` tells the axis of the inputs."
        )
    return offset


def _without_scale(norm: LayerNorm | RMSNorm) -> Any:
    """A copy of a norm that only standardizes."""
    plain = jax.tree.map(lambda leaf: leaf, norm)
    plain.scale = plain.bias = None
    if isinstance(plain, RMSNorm):
        plain.scale_offset = 0.0
    return plain


def _folded(
    scale: Array | None, shift: Array | None, kernel: Array, bias: Array | None, axis: int
) -> tuple[Array, Array | None]:
    wide = kernel.astype(accumulator(kernel.dtype))
    along = tuple(n if place == axis else 1 for place, n in enumerate(kernel.shape))
    product = wide if scale is None else wide * jnp.reshape(scale, along)
    if shift is None:
        return product.astype(kernel.dtype), bias
    added = jnp.tensordot(shift, wide, ((0,), (axis,)), precision=lax.Precision.HIGHEST)
    if bias is None:
        return product.astype(kernel.dtype), added.astype(kernel.dtype)
    added = jnp.reshape(added, bias.shape) + bias.astype(added.dtype)
    return product.astype(kernel.dtype), added.astype(bias.dtype)
