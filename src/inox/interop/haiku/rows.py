"""Layer, instance and RMS norm for Haiku."""

import sys
from typing import Any

import jax
import jax.numpy as jnp

from ..core import Over, normalize
from .base import (
    Axis,
    Initializer,
    absolute_axes,
    affine_arrays,
    as_input,
    check_initializers,
    checked_axis,
    hk,
    parameter_shape,
)

Array = jax.Array

# Where Haiku has its switch that makes `param_axis` obligatory for axes other than the last.
_SWITCHES = sys.modules[hk.LayerNorm.__module__]


class LayerNorm(hk.Module):
    r"""Layer normalization as :class:`haiku.LayerNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Args:
        axis: The axis, the axes or the slice of axes that are reduced.
        create_scale: Whether the layer has a scale.
        create_offset: Whether the layer has an offset.
        eps: What is added to the variance, in its units.
        scale_init: The initializer of the scale; None for ones.
        offset_init: The initializer of the offset; None for zeros.
        use_fast_variance: Accepted; the variance is exact either way.
        name: The name of the module.
        param_axis: The axes along which scale and offset vary; None for the last.

    Raises:
        ValueError: If an initializer is given for what is not created, or `axis` or `param_axis`
            names no axes.

    Example:
        >>> import haiku as hk
        >>> def network(x):
        ...     return LayerNorm(axis=-1, create_scale=True, create_offset=True)(x)
        >>> init, apply = hk.transform(network)
        >>> x = jnp.array([[1.0, 3.0], [3000.0, 3004.0]])
        >>> parameters = init(None, x)
        >>> print(apply(parameters, None, x).round(3))
        [[-1.  1.]
         [-1.  1.]]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """

    def __init__(
        self,
        axis: Axis,
        create_scale: bool,
        create_offset: bool,
        eps: float = 1e-5,
        scale_init: Initializer | None = None,
        offset_init: Initializer | None = None,
        use_fast_variance: bool = False,
        name: str | None = None,
        *,
        param_axis: Axis | None = None,
    ) -> None:
        super().__init__(name=name)
        check_initializers(scale=(create_scale, scale_init), offset=(create_offset, offset_init))
        self.axis = checked_axis(axis)
        self.eps = eps
        self.create_scale = create_scale
        self.create_offset = create_offset
        self.scale_init = scale_init or jnp.ones
        self.offset_init = offset_init or jnp.zeros
        self.use_fast_variance = use_fast_variance
        self._param_axis_passed_explicitly = param_axis is not None
        self.param_axis = (-1,) if param_axis is None else checked_axis(param_axis, "param_axis")

    def __call__(self, inputs: Any, scale: Any = None, offset: Any = None) -> Array:
        """Normalizes along the axes.

        Args:
            inputs: The input.
            scale: A scale that broadcasts to `inputs`, for a layer that has none.
            offset: An offset that broadcasts to `inputs`, for a layer that has none.

        Returns:
            The output, with the shape and dtype of `inputs`.

        Raises:
            ValueError: If an axis is out of range, or `scale` or `offset` is given to a layer that
                has one, or does not broadcast.
        """
        return apply_layer_norm(self, inputs, scale, offset)


class InstanceNorm(LayerNorm):
    """Instance normalization as :class:`haiku.InstanceNorm`: over the spatial axes.

    Args:
        create_scale: Whether the layer has a scale.
        create_offset: Whether the layer has an offset.
        eps: What is added to the variance, in its units.
        scale_init: The initializer of the scale; None for ones.
        offset_init: The initializer of the offset; None for zeros.
        data_format: Where the channels are: `channels_last`, `channels_first`, `NHWC`, `NCHW`, ...
        name: The name of the module.

    Raises:
        ValueError: If an initializer is given for what is not created.

    Example:
        >>> import haiku as hk
        >>> init, apply = hk.transform(lambda x: InstanceNorm(True, True)(x))
        >>> x = jnp.arange(12.0).reshape(1, 2, 2, 3)
        >>> init(None, x)["instance_norm"]["scale"].shape
        (3,)

    References:
        | Instance Normalization: The Missing Ingredient for Fast Stylization (Ulyanov et al., 2016)
        | https://arxiv.org/abs/1607.08022
    """

    def __init__(
        self,
        create_scale: bool,
        create_offset: bool,
        eps: float = 1e-5,
        scale_init: Initializer | None = None,
        offset_init: Initializer | None = None,
        data_format: str = "channels_last",
        name: str | None = None,
    ) -> None:
        channels = hk.get_channel_index(data_format)
        super().__init__(
            axis=slice(2, None) if channels == 1 else slice(1, -1),
            create_scale=create_scale,
            create_offset=create_offset,
            eps=eps,
            scale_init=scale_init,
            offset_init=offset_init,
            param_axis=channels,
            name=name,
        )


class RMSNorm(hk.Module):
    r"""Root mean square normalization as :class:`haiku.RMSNorm`.

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}} \gamma

    Args:
        axis: The axis, the axes or the slice of axes that are reduced.
        eps: What is added to the mean square, in its units.
        scale_init: The initializer of the scale; None for ones.
        name: The name of the module.
        create_scale: Whether the layer has a scale.
        param_axis: The axes along which the scale varies; None for the last.

    Raises:
        ValueError: If `scale_init` is given for a layer without scale, or `axis` or `param_axis`
            names no axes.

    Example:
        >>> import haiku as hk
        >>> init, apply = hk.transform(lambda x: RMSNorm(axis=-1, eps=0.0)(x))
        >>> x = jnp.array([1.0, 7.0])
        >>> print(apply(init(None, x), None, x))
        [0.2 1.4]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """

    def __init__(
        self,
        axis: Axis,
        eps: float = 1e-5,
        scale_init: Initializer | None = None,
        name: str | None = None,
        create_scale: bool = True,
        *,
        param_axis: Axis | None = None,
    ) -> None:
        super().__init__(name=name)
        check_initializers(scale=(create_scale, scale_init))
        self.axis = checked_axis(axis)
        self.eps = eps
        self.create_scale = create_scale
        self.scale_init = scale_init or jnp.ones
        self.param_axis = (-1,) if param_axis is None else checked_axis(param_axis, "param_axis")

    def __call__(self, inputs: Any) -> Array:
        """Normalizes along the axes.

        Args:
            inputs: The input.

        Returns:
            The output, with the shape and dtype of `inputs`.

        Raises:
            ValueError: If an axis is out of range.
        """
        return apply_rms_norm(self, inputs)


def apply_layer_norm(layer: Any, inputs: Any, scale: Any = None, offset: Any = None) -> Array:
    """What the call of a layer norm does, of ours or of Haiku's own: both have its attributes."""
    x = as_input(inputs)
    axes = absolute_axes(layer.axis, x.ndim)
    _check_param_axis(layer, axes, x)
    shape = parameter_shape(layer.param_axis, x)
    scale, offset = affine_arrays(layer, x, shape, scale=scale, offset=offset)
    return normalize(Over(axes, layer.eps), x, scale, offset)


def _check_param_axis(layer: Any, axes: tuple[int, ...], x: Array) -> None:
    strict = getattr(_SWITCHES, "ERROR_IF_PARAM_AXIS_NOT_EXPLICIT", False)
    implied = strict and not layer._param_axis_passed_explicitly
    if implied and (layer.create_scale or layer.create_offset) and axes != (x.ndim - 1,):
        raise ValueError(
            "When axis is not the final dimension, pass `param_axis` in the ctor as well; found "
            f"axis={layer.axis} and inputs of shape {x.shape}."
        )


def apply_rms_norm(layer: Any, inputs: Any) -> Array:
    """What the call of an RMS norm does, of ours or of Haiku's own: both have its attributes."""
    x = as_input(inputs)
    over = Over(absolute_axes(layer.axis, x.ndim), layer.eps, centred=False)
    (scale,) = affine_arrays(layer, x, parameter_shape(layer.param_axis, x), scale=None)
    return normalize(over, x, scale)
