"""RMS norm: layer norm without the mean."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike

from ...functional.arguments import AxisName
from ...functional.array_arguments import ArrayLike
from ...functional.root_mean_square import rms_norm
from ...functional.scaling_arguments import rounding_dtype
from ..parameter import Parameter
from .base import Axis, WithoutBias, static_axis, static_names
from .scale_offset import OffsetScaleLayer

Array = jax.Array


class RMSNorm(WithoutBias, OffsetScaleLayer):
    r"""Creates a root-mean-square normalization layer.

    .. math:: y = R\left(\frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}}\right) (\gamma + o)

    with no rounding :math:`R` and no offset :math:`o` unless they are asked for; `docs/presets.md`
    tells which family of models has which.

    Args:
        axis: The axis or axes over which the mean square is calculated, in any order.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the mean square: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        scale_offset: A number :math:`o` that is added to the scale in the dtype of the statistics
            (float32, or float64 for float64): a float (static) or an array (a leaf). With 1.0 the
            scale is stored as its distance from 1 (Gemma): start it at zeros. Weight decay then
            draws the scale to 1 and not to 0, so it need not be kept from this parameter.
        normalized_dtype: A floating-point dtype to which the normalized `x` is rounded before it is
            scaled: that of `x` in Llama and T5. The product is in the dtype of the statistics,
            rounded to that of `x`. None for no rounding but the last.
        axis_name: Names of mapped axes (`shard_map`, `vmap`) that the normalized axes are split
            over: the mean square is that of all parts, weighted by count. The scale is that of this
            part.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If epsilon is negative, an axis is repeated, or `scale_offset` is not finite or
            has no scale to be added to.

    Example:
        >>> layer = RMSNorm(epsilon=0.0)
        >>> print(layer(jax.numpy.array([1.0, 7.0])))
        [0.2 1.4]
        >>> gemma = RMSNorm(scale=jax.numpy.zeros(64), scale_offset=1.0)
        >>> llama = RMSNorm(scale=jax.numpy.ones(64), normalized_dtype=jax.numpy.bfloat16)

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """

    _with_bias = "LayerNorm"

    axis: Axis
    axis_name: AxisName
    normalized_dtype: np.dtype | None

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float | Array = 1e-06,
        *,
        scale: ArrayLike | Parameter | None = None,
        scale_offset: float | Array = 0.0,
        normalized_dtype: DTypeLike | None = None,
        axis_name: AxisName = None,
        implementation: str | None = None,
    ) -> None:
        super().__init__(epsilon, scale, None, scale_offset, implementation)
        self.axis = static_axis(axis)
        self.axis_name = static_names(axis_name)
        self.normalized_dtype = rounding_dtype(normalized_dtype)

    def _converted(self, name: str, value: Any) -> Any:
        if name == "normalized_dtype":
            return rounding_dtype(value)
        return super()._converted(name, value)

    def __call__(self, x: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Normalizes `x`.

        Args:
            x: The input tensor, with shape :math:`(*, C)`.
            where: A boolean mask with the rank of `x`, of the elements that take part; the output
                is 0 elsewhere.

        Returns:
            The output tensor, with the shape and dtype of `x`.

        Raises:
            TypeError: If `x` is complex or `where` isn't boolean.
            ValueError: If an axis is out of range, an operand does not broadcast to `x`,
                `normalized_dtype` is wider than the statistics, or `axis_name` is not bound.
        """
        return rms_norm(
            x,
            axis=self.axis,
            where=where,
            axis_name=self.axis_name,
            normalized_dtype=self.normalized_dtype,
            **self._operands(),
        )
