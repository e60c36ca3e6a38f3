"""Layer norm, and instance norm, which is layer norm over the spatial axes."""

from collections.abc import Sequence

import jax

from ...functional.arguments import AxisName
from ...functional.array_arguments import ArrayLike, floating
from ...functional.norms import layer_norm
from ..parameter import Parameter
from .base import Axis, NormalizationLayer, static_axis, static_names

Array = jax.Array


class LayerNorm(NormalizationLayer):
    r"""Creates a layer-normalization layer.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Args:
        axis: The axis or axes over which the mean and variance are calculated, in any order.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        bias: The bias :math:`\beta`, broadcast against `x` from the right; None for 0.
        axis_name: Names of mapped axes (`shard_map`, `vmap`) that the normalized axes are split
            over: mean and variance are those of all parts, weighted by count. Scale and bias are
            those of this part.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If epsilon is negative or an axis is repeated.

    Example:
        >>> layer = LayerNorm(scale=jax.numpy.ones(64), bias=jax.numpy.zeros(64))
        >>> layer
        LayerNorm(
          axis=-1,
          axis_name=None,
          bias=Parameter(float32[64]),
          epsilon=1e-05,
          implementation=None,
          scale=Parameter(float32[64]),
        )
        >>> y = layer(jax.random.normal(jax.random.key(0), (8, 64)))
        >>> print(abs(y.mean(axis=-1)).max() < 1e-6)
        True

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """

    axis: Axis
    axis_name: AxisName

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float | Array = 1e-05,
        *,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
        axis_name: AxisName = None,
        implementation: str | None = None,
    ) -> None:
        super().__init__(epsilon, scale, bias, implementation)
        self.axis = static_axis(axis)
        self.axis_name = static_names(axis_name)

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
            ValueError: If an axis is out of range, an operand does not broadcast to `x` or
                `axis_name` is not bound.
        """
        return layer_norm(
            x, axis=self.axis, where=where, axis_name=self.axis_name, **self._operands()
        )


class InstanceNorm(LayerNorm):
    r"""Creates an instance-normalization layer: layer norm over the spatial axes.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    with the mean and variance of each channel of each sample.

    Args:
        axis: The spatial axes, over which the mean and variance are calculated; None for all axes
            between the first, of the batch, and the last, of the channels.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        bias: The bias :math:`\beta`, broadcast against `x` from the right; None for 0.
        axis_name: Names of mapped axes (`shard_map`, `vmap`) that the normalized axes are split
            over: mean and variance are those of all parts, weighted by count. Scale and bias are
            those of this part.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If epsilon is negative or an axis is repeated.

    Example:
        >>> layer = InstanceNorm()
        >>> y = layer(jax.random.normal(jax.random.key(0), (2, 8, 8, 3)))
        >>> print(abs(y.mean(axis=(1, 2))).max() < 1e-6)
        True

    References:
        | Instance Normalization: The Missing Ingredient for Fast Stylization (Ulyanov et al., 2016)
        | https://arxiv.org/abs/1607.08022
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = None,
        epsilon: float | Array = 1e-05,
        *,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
        axis_name: AxisName = None,
        implementation: str | None = None,
    ) -> None:
        NormalizationLayer.__init__(self, epsilon, scale, bias, implementation)
        spatial = None if axis is None else static_axis(axis)
        self.axis_name = static_names(axis_name)
        # None, too: all spatial axes, which only the rank of x tells.
        self.axis: Axis | None = spatial  # pyright: ignore[reportIncompatibleVariableOverride]

    def __call__(self, x: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Normalizes `x`.

        Args:
            x: The input tensor, with shape :math:`(N, *, C)`.
            where: A boolean mask with the rank of `x`, of the elements that take part; the output
                is 0 elsewhere.

        Returns:
            The output tensor, with the shape and dtype of `x`.

        Raises:
            TypeError: If `x` is complex or `where` isn't boolean.
            ValueError: If there is no spatial axis, an axis is out of range, an operand does not
                broadcast to `x` or `axis_name` is not bound.
        """
        x = floating(x)
        axis = _spatial_axes(x) if self.axis is None else self.axis
        return layer_norm(x, axis=axis, where=where, axis_name=self.axis_name, **self._operands())


def _spatial_axes(x: Array) -> tuple[int, ...]:
    """All axes between the batch and the channels."""
    if x.ndim < 3:
        raise ValueError(
            f"x must have a batch axis, spatial axes and a channel axis, (N, *, C); found shape "
            f"{x.shape}. For a single sample add an axis, x[None], or name the spatial axes, "
            "InstanceNorm(axis=...)."
        )
    return tuple(range(1 - x.ndim, -1))
