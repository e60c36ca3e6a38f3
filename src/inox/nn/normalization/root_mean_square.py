"""RMS norm: layer norm without the mean."""

from collections.abc import Sequence
from typing import Any

import jax

from ...functional.arguments import ArrayLike
from ...functional.root_mean_square import rms_norm
from ..parameter import Parameter
from .base import Axis, NormalizationLayer, static_axis

Array = jax.Array


class RMSNorm(NormalizationLayer):
    r"""Creates a root-mean-square normalization layer.

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}} \gamma

    Args:
        axis: The axis or axes over which the mean square is calculated, in any order.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the mean square: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        implementation: `"xla"`, `"cpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If epsilon is negative or an axis is repeated.

    Example:
        >>> layer = RMSNorm(epsilon=0.0)
        >>> print(layer(jax.numpy.array([1.0, 7.0])))
        [0.2 1.4]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """

    axis: Axis

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float | Array = 1e-06,
        *,
        scale: ArrayLike | Parameter | None = None,
        implementation: str | None = None,
    ) -> None:
        super().__init__(epsilon, scale, implementation=implementation)
        self.axis = static_axis(axis)

    def _converted(self, name: str, value: Any) -> Any:
        if name == "bias" and value is not None:
            raise TypeError(
                f"bias must be None; found {type(value).__name__}. RMS norm shifts nothing: add it "
                "to what the layer returns, or use LayerNorm."
            )
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
            ValueError: If an axis is out of range or an operand does not broadcast to `x`.
        """
        operands = self._operands()
        del operands["bias"]  # there is none
        return rms_norm(x, axis=self.axis, where=where, **operands)
