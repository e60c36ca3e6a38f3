"""RMS norm: a choice of axes as layer norm's, without the mean."""

from collections.abc import Sequence

import jax
from jax.typing import DTypeLike

from .arguments import AxisName
from .array_arguments import ArrayLike
from .norms import row_norm

Array = jax.Array


def rms_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float | Array = 1e-06,
    scale_offset: float | Array = 0.0,
    normalized_dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
    implementation: str | None = None,
) -> Array:
    r"""Divides by the root of the mean square along axes, then scales.

    .. math:: y = R\left(\frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}}\right) (\gamma + o)

    with no rounding :math:`R` and no offset :math:`o` unless they are asked for; `docs/presets.md`
    tells which family of models has which.

    Args:
        x: The input, with shape :math:`(*, C)`.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right. It is multiplied
            before the result is rounded to the dtype of `x`.
        axis: The axis or axes over which the mean square is calculated.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the mean square.
        scale_offset: A number :math:`o` that is added to the scale in the dtype of the statistics
            (float32, or float64 for float64): 1.0 for a scale that is stored as its distance from
            1 (Gemma). Weight decay then draws the scale to 1 and not to 0.
        normalized_dtype: A floating-point dtype to which the normalized `x` is rounded before it is
            scaled: that of `x` in Llama and T5. The product is computed in the dtype of the
            statistics, whatever the dtype of the scale, and rounded to that of `x`. None, or the
            dtype of the statistics itself, for no rounding but the last. Derivatives take the
            rounding for the identity.
        where: A boolean mask with the rank of `x`, of the elements that take part; the output
            is 0 elsewhere.
        axis_name: Names of mapped axes (`shard_map`, `vmap`) that the normalized axes are split
            over: the mean square is that of all parts, weighted by count. The scale is that of
            this part.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The output, with the shape and dtype of `x`.

    Raises:
        TypeError: If `x` is complex, an operand a shape or a switch, `where` isn't boolean,
            `scale_offset` is no number or `normalized_dtype` no floating-point dtype.
        ValueError: If an axis is out of range or repeated, an operand does not broadcast to `x`,
            epsilon is negative or not finite, `scale_offset` is not finite or there is no scale to
            add it to, `normalized_dtype` is wider than the statistics, `axis_name` is not bound, or
            the implementation is not there.

    Example:
        >>> print(rms_norm(jax.numpy.array([1.0, 7.0]), epsilon=0.0))
        [0.2 1.4]
        >>> print(rms_norm(jax.numpy.array([1.0, 7.0]), scale=0.5, scale_offset=1.0, epsilon=0.0))
        [0.3 2.1]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """
    return row_norm(
        x,
        scale,
        None,
        axis=axis,
        epsilon=epsilon,
        where=where,
        implementation=implementation,
        centred=False,
        scale_offset=scale_offset,
        normalized_dtype=normalized_dtype,
        axis_name=axis_name,
    )
