"""Weight norm: a kernel as directions and lengths of its output channels."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..kernels.arithmetic import accumulator
from ..kernels.kernel import Axes
from .array_arguments import ArrayLike, floating
from .means import Reduction, count
from .normalize import normalize
from .unit_range import near_one
from .weight_arguments import channel_axes, gain_operand

Array = jax.Array


def weight_norm(v: ArrayLike, g: ArrayLike | None, *, axis: int | Sequence[int] = -1) -> Array:
    r"""Gives each output channel of a kernel the direction of `v` and the length `g`.

    .. math:: w_c = g_c \frac{v_c}{\lVert v_c \rVert}

    The norm is computed in float32 (float64 for float64) and the result rounded once, for
    entries from the smallest normal number to the largest. A channel of zeros has no direction:
    its `w` is 0, and so are its gradients in `v` and `g`.

    Args:
        v: The directions :math:`v`, a kernel of a linear map or convolution, with shape
            :math:`(*, I, O)`. Their lengths have no effect on the result.
        g: The lengths :math:`g`, one a channel: with shape :math:`(O)`, or axes of size 1 beside,
            or one number for all. None for 1.
        axis: The axis or axes of the output channels, which are kept apart: the norm runs over
            all others. With several stacked kernels, list theirs, too.

    Returns:
        The kernel, with the shape and dtype of `v`.

    Raises:
        TypeError: If `v` or `g` holds no real numbers, or `axis` no integers.
        ValueError: If an axis is out of range or repeated, none is left to normalize over, or `g`
            has not one value a channel.

    Example:
        >>> v = jax.numpy.array([[3.0, 0.0], [4.0, 2.0]])
        >>> print(weight_norm(v, jax.numpy.array([10.0, 1.0])))
        [[6. 0.]
         [8. 1.]]

    References:
        | Weight Normalization (Salimans & Kingma, 2016)
        | https://arxiv.org/abs/1602.07868
    """
    v = floating(v, "v")
    kept, others = channel_axes(axis, v.shape, "v")
    return _weight_norm(v, gain_operand(g, v.shape, kept, accumulator(v.dtype)), others)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _weight_norm(v: Array, g: Array, others: Axes) -> Array:
    """RMS norm without an epsilon: the root of the mean square is the norm over the root of n."""
    u, _ = near_one(v, others)
    number = jnp.asarray(count(u.shape, others, None, u.dtype))
    zero = jnp.zeros((1,) * u.ndim, u.dtype)
    w = normalize(Reduction(others, centred=False), u, zero, g / jnp.sqrt(number), None, None)
    return w.astype(v.dtype)
