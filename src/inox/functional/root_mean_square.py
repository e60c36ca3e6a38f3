"""RMS norm: a choice of axes as layer norm's, without the mean."""

from collections.abc import Sequence

import jax

from .arguments import ArrayLike
from .norms import row_norm

Array = jax.Array


def rms_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-06,
    where: ArrayLike | None = None,
    implementation: str | None = None,
) -> Array:
    r"""Divides by the root of the mean square along axes, then scales.

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}} \gamma

    Args:
        x: The input, with shape :math:`(*, C)`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right. It is multiplied
            before the result is rounded to the dtype of `x`.
        axis: The axis or axes over which the mean square is calculated.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the mean square.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex, an operand a shape or a switch, or `where` isn't boolean.
        ValueError: If an axis is out of range or repeated, an operand does not broadcast to `x`,
            epsilon is negative or not finite, or the implementation is not there.

    Example:
        >>> print(rms_norm(jax.numpy.array([1.0, 7.0]), epsilon=0.0))
        [0.2 1.4]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """
    return row_norm(x, scale, None, axis, epsilon, where, implementation, centred=False)
