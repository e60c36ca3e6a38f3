"""Layers without state: layer, RMS, group and instance norm."""

from collections.abc import Sequence

import jax

from ...functional.arguments import ArrayLike, positive_integer
from ...functional.norms import group_norm, layer_norm, rms_norm
from ..parameter import Parameter
from .base import Axis, NormalizationLayer, static_axis, value_of

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

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If epsilon is negative or an axis is repeated.

    Example:
        >>> layer = LayerNorm(scale=jax.numpy.ones(64), bias=jax.numpy.zeros(64))
        >>> layer
        LayerNorm(
          axis=-1,
          bias=Parameter(float32[64]),
          epsilon=1e-05,
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

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float | Array = 1e-05,
        *,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
    ) -> None:
        super().__init__(epsilon, scale, bias)
        self.axis = static_axis(axis)

    def __call__(self, x: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Normalizes `x`.

        Args:
            x: The input tensor, with shape :math:`(*, C)`.
            where: A boolean mask, broadcastable to `x`, of the elements that take part; the output
                is 0 elsewhere.

        Returns:
            The output tensor, with the shape and dtype of `x`.

        Raises:
            TypeError: If `x` is complex or `where` isn't boolean.
            ValueError: If an axis is out of range or an operand does not broadcast to `x`.
        """
        scale, bias = value_of(self.scale), value_of(self.bias)
        return layer_norm(x, scale, bias, axis=self.axis, epsilon=self.epsilon, where=where)


class InstanceNorm(LayerNorm):
    r"""Creates an instance-normalization layer: layer norm over the spatial axes.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    with the mean and variance of each channel of each sample.

    Args:
        axis: The spatial axes, over which the mean and variance are calculated.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        bias: The bias :math:`\beta`, broadcast against `x` from the right; None for 0.

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
        axis: int | Sequence[int] = (-3, -2),
        epsilon: float | Array = 1e-05,
        *,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
    ) -> None:
        super().__init__(axis, epsilon, scale=scale, bias=bias)


class RMSNorm(NormalizationLayer):
    r"""Creates a root-mean-square normalization layer.

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}} \gamma

    Args:
        axis: The axis or axes over which the mean square is calculated, in any order.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the mean square: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.

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
    ) -> None:
        super().__init__(epsilon, scale)
        self.axis = static_axis(axis)

    def __call__(self, x: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Normalizes `x`.

        Args:
            x: The input tensor, with shape :math:`(*, C)`.
            where: A boolean mask, broadcastable to `x`, of the elements that take part; the output
                is 0 elsewhere.

        Returns:
            The output tensor, with the shape and dtype of `x`.

        Raises:
            TypeError: If `x` is complex or `where` isn't boolean.
            ValueError: If an axis is out of range or an operand does not broadcast to `x`.
        """
        scale = value_of(self.scale)
        return rms_norm(x, scale, axis=self.axis, epsilon=self.epsilon, where=where)


class GroupNorm(NormalizationLayer):
    r"""Creates a group-normalization layer.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    with the mean and variance of each group of :math:`C / G` neighbouring channels.

    Args:
        groups: The number of groups :math:`G` to separate channels into. If :math:`G = 1`, the
            layer is equivalent to :class:`LayerNorm`.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance: a float
            (static) or an array (a leaf).
        axis: The axes that are pooled, the last among them: -1 normalizes each position apart,
            (-3, -2, -1) each image, as in the paper.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        bias: The bias :math:`\beta`, broadcast against `x` from the right; None for 0.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `groups` is below 1, epsilon negative or an axis repeated.

    Example:
        >>> layer = GroupNorm(groups=8, axis=(-3, -2, -1))
        >>> y = layer(jax.random.normal(jax.random.key(0), (2, 16, 16, 32)))
        >>> print(abs(y[..., :4].mean(axis=(1, 2, 3))).max() < 1e-6)
        True

    References:
        | Group Normalization (Wu & He, 2018)
        | https://arxiv.org/abs/1803.08494
    """

    groups: int
    axis: Axis

    def __init__(
        self,
        groups: int,
        epsilon: float | Array = 1e-05,
        *,
        axis: int | Sequence[int] = -1,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
    ) -> None:
        groups = positive_integer(groups, "groups")
        super().__init__(epsilon, scale, bias)
        self.groups = groups
        self.axis = static_axis(axis)

    def __call__(self, x: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Normalizes `x`.

        Args:
            x: The input tensor, with shape :math:`(*, C)`.
            where: A boolean mask, broadcastable to `x`, of the elements that take part; the output
                is 0 elsewhere.

        Returns:
            The output tensor, with the shape and dtype of `x`.

        Raises:
            TypeError: If `x` is complex or `where` isn't boolean.
            ValueError: If `groups` doesn't divide the channels, an axis is out of range or an
                operand does not broadcast to `x`.
        """
        return group_norm(
            x,
            self.groups,
            value_of(self.scale),
            value_of(self.bias),
            axis=self.axis,
            epsilon=self.epsilon,
            where=where,
        )
