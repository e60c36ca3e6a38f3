"""Weight standardization: output channels of a kernel with mean 0 and variance 1."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..kernels.arithmetic import accumulator
from ..kernels.kernel import Axes
from .array_arguments import ArrayLike, floating
from .means import Reduction
from .normalize import normalize
from .scalar_arguments import check_epsilon, epsilon_operand
from .unit_range import near_one
from .weight_arguments import channel_axes

Array = jax.Array


def weight_standardize(
    w: ArrayLike, *, axis: int | Sequence[int] = -1, epsilon: float | Array = 1e-10
) -> Array:
    r"""Shifts and scales each output channel of a kernel to mean 0 and variance 1.

    .. math:: \hat w_c = \frac{w_c - \mathbb{E}[w_c]}{\sqrt{\mathbb{V}[w_c] + \epsilon}}

    Mean and variance are exact where the mean is large, as :func:`moments` are. A gain, and a
    division by the root of the fan-in, are a product with the result.

    Args:
        w: A kernel of a linear map or convolution, with shape :math:`(*, I, O)`.
        axis: The axis or axes of the output channels, which are kept apart: mean and variance run
            over all others. With several stacked kernels, list theirs, too.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance. That of a
            kernel is about 1 / fan-in, 2e-4 for 3 x 3 x 512, so the 1e-5 of activations would
            be felt; 1e-10 is the square of the 1e-5 that the paper adds to the deviation.

    Returns:
        The kernel, with the shape and dtype of `w`.

    Raises:
        TypeError: If `w` holds no real numbers, or `axis` no integers.
        ValueError: If an axis is out of range or repeated, none is left to normalize over, or
            epsilon is negative or not finite.

    Example:
        >>> w = jax.numpy.array([[1.0, 5.0], [3.0, 9.0]])
        >>> print(weight_standardize(w, epsilon=0.0))
        [[-1. -1.]
         [ 1.  1.]]

    References:
        | Micro-Batch Training with Batch-Channel Normalization and Weight Standardization
          (Qiao et al., 2019)
        | https://arxiv.org/abs/1903.10520
    """
    w = floating(w, "w")
    _, others = channel_axes(axis, w.shape, "w")
    check_epsilon(epsilon, accumulator(w.dtype))
    return _weight_standardize(w, epsilon, others)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _weight_standardize(w: Array, epsilon: float | Array, others: Axes) -> Array:
    """What follows the checks: each channel and epsilon in units of a power of two near both."""
    small = epsilon_operand(epsilon, w, accumulator(w.dtype))
    u, power = near_one(w, others, jnp.sqrt(small))
    y = normalize(Reduction(others), u, (small * power) * power, None, None, None)
    return y.astype(w.dtype)
