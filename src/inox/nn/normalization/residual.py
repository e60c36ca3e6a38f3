"""A residual connection and the norm that follows it, as layers."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike

from ...functional.add_norms import add_layer_norm, add_rms_norm
from ...functional.array_arguments import ArrayLike
from ...functional.scalar_arguments import check_switch
from ...functional.scaling_arguments import out_dtype_of, residual_dtype_of
from ..parameter import Parameter
from .base import Axis, WithoutBias, static_axis
from .scale_offset import OffsetScaleLayer

Array = jax.Array


class AddNormLayer(OffsetScaleLayer):
    """What both layers have in common beside scale, bias and epsilon."""

    axis: Axis
    out_dtype: np.dtype | None
    residual_dtype: np.dtype | None
    normalize_rounded: bool

    def __init__(
        self,
        *,
        axis: int | Sequence[int],
        epsilon: float | Array,
        scale: ArrayLike | Parameter | None,
        bias: ArrayLike | Parameter | None,
        scale_offset: float | Array,
        out_dtype: DTypeLike | None,
        residual_dtype: DTypeLike | None,
        normalize_rounded: bool,
        implementation: str | None,
    ) -> None:
        super().__init__(epsilon, scale, bias, scale_offset, implementation)
        self.axis = static_axis(axis)
        self.out_dtype = out_dtype_of(out_dtype)
        self.residual_dtype = residual_dtype_of(residual_dtype)
        self.normalize_rounded = normalize_rounded

    def _converted(self, name: str, value: Any) -> Any:
        if name == "out_dtype":
            return out_dtype_of(value)
        if name == "residual_dtype":
            return residual_dtype_of(value)
        if name == "normalize_rounded":
            check_switch(value, name)
            return bool(value)
        return super()._converted(name, value)

    def _operands(self) -> dict[str, Any]:
        return super()._operands() | {
            "axis": self.axis,
            "out_dtype": self.out_dtype,
            "residual_dtype": self.residual_dtype,
            "normalize_rounded": self.normalize_rounded,
        }


class AddLayerNorm(AddNormLayer):
    r"""Creates a layer that adds to a residual and normalizes the sum as :class:`LayerNorm` does.

    .. math:: t = h + g x, \qquad r = R(t), \qquad
        y = \frac{t - \mathbb{E}[t]}{\sqrt{\mathbb{V}[t] + \epsilon}} (\gamma + o) + \beta

    Args:
        axis: The axis or axes over which the mean and variance are calculated, in any order.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        bias: The bias :math:`\beta`, broadcast against `x` from the right; None for 0.
        scale_offset: A number :math:`o` that is added to the scale in the dtype of the statistics.
        out_dtype: The dtype of y; None for that of `x`.
        residual_dtype: The dtype of r; None for that of the residual.
        normalize_rounded: Whether r is normalized, and not the sum before its rounding.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If epsilon is negative, an axis is repeated, or `scale_offset` is not finite or
            has no scale to be added to.

    Example:
        >>> layer = AddLayerNorm(scale=jax.numpy.ones(64), bias=jax.numpy.zeros(64))
        >>> branch, residual = jax.random.normal(jax.random.key(0), (2, 8, 64))
        >>> y, residual = layer(branch, residual)
        >>> print(abs(y.mean(axis=-1)).max() < 1e-6)
        True

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float | Array = 1e-05,
        *,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
        scale_offset: float | Array = 0.0,
        out_dtype: DTypeLike | None = None,
        residual_dtype: DTypeLike | None = None,
        normalize_rounded: bool = False,
        implementation: str | None = None,
    ) -> None:
        super().__init__(
            axis=axis,
            epsilon=epsilon,
            scale=scale,
            bias=bias,
            scale_offset=scale_offset,
            out_dtype=out_dtype,
            residual_dtype=residual_dtype,
            normalize_rounded=normalize_rounded,
            implementation=implementation,
        )

    def __call__(
        self,
        x: ArrayLike,
        residual: ArrayLike,
        *,
        gate: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> tuple[Array, Array]:
        """Adds `x` to the residual and normalizes the sum.

        Args:
            x: What is added, with shape :math:`(*, C)`.
            residual: What it is added to, with the shape of `x`.
            gate: A factor of `x`, broadcast against it from the right; None for 1.
            where: A boolean mask with the rank of `x`, of the elements that take part; both results
                are 0 elsewhere.

        Returns:
            The normalized sum and the sum, with the shape of `x`.

        Raises:
            TypeError: If `x` or the residual is complex or `where` isn't boolean.
            ValueError: If the shapes of `x` and the residual differ, an axis is out of range or an
                operand does not broadcast to `x`.
        """
        return add_layer_norm(x, residual, gate=gate, where=where, **self._operands())


class AddRMSNorm(WithoutBias, AddNormLayer):
    r"""Creates a layer that adds to a residual and normalizes the sum as :class:`RMSNorm` does.

    .. math:: t = h + g x, \qquad r = R(t), \qquad
        y = \frac{t}{\sqrt{\mathbb{E}[t^2] + \epsilon}} (\gamma + o)

    Args:
        axis: The axis or axes over which the mean square is calculated, in any order.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the mean square: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        scale_offset: A number :math:`o` that is added to the scale in the dtype of the statistics:
            1.0 for a scale that is stored as its distance from 1 (Gemma).
        out_dtype: The dtype of y; None for that of `x`.
        residual_dtype: The dtype of r; None for that of the residual.
        normalize_rounded: Whether r is normalized, and not the sum before its rounding.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If epsilon is negative, an axis is repeated, or `scale_offset` is not finite or
            has no scale to be added to.

    Example:
        >>> layer = AddRMSNorm(epsilon=0.0)
        >>> y, r = layer(jax.numpy.array([1.0, 3.0]), jax.numpy.array([0.0, 4.0]))
        >>> print(y, r)
        [0.2 1.4] [1. 7.]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """

    _with_bias = "AddLayerNorm"

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float | Array = 1e-06,
        *,
        scale: ArrayLike | Parameter | None = None,
        scale_offset: float | Array = 0.0,
        out_dtype: DTypeLike | None = None,
        residual_dtype: DTypeLike | None = None,
        normalize_rounded: bool = False,
        implementation: str | None = None,
    ) -> None:
        super().__init__(
            axis=axis,
            epsilon=epsilon,
            scale=scale,
            bias=None,
            scale_offset=scale_offset,
            out_dtype=out_dtype,
            residual_dtype=residual_dtype,
            normalize_rounded=normalize_rounded,
            implementation=implementation,
        )

    def __call__(
        self,
        x: ArrayLike,
        residual: ArrayLike,
        *,
        gate: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> tuple[Array, Array]:
        """Adds `x` to the residual and normalizes the sum.

        Args:
            x: What is added, with shape :math:`(*, C)`.
            residual: What it is added to, with the shape of `x`.
            gate: A factor of `x`, broadcast against it from the right; None for 1.
            where: A boolean mask with the rank of `x`, of the elements that take part; both results
                are 0 elsewhere.

        Returns:
            The normalized sum and the sum, with the shape of `x`.

        Raises:
            TypeError: If `x` or the residual is complex or `where` isn't boolean.
            ValueError: If the shapes of `x` and the residual differ, an axis is out of range or an
                operand does not broadcast to `x`.
        """
        return add_rms_norm(x, residual, gate=gate, where=where, **self._operands())
