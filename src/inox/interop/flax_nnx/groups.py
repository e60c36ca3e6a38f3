"""Group and instance norm for Flax NNX."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from ..core import Over, along, normalize
from ..flax_conventions import Axes, front_axes, group_axes, group_number, instance_axes, mask_of
from .base import Initializer, NormalizationLayer, PromoteDtype, ones, promote_dtype, zeros

Array = jax.Array


class GroupNorm(NormalizationLayer):
    r"""Group normalization as :class:`flax.nnx.GroupNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Mean and variance are those of each group of neighbouring features. Arguments, attributes and
    parameters are Flax' own.

    Args:
        num_features: The number of features, the last axis of `x`.
        num_groups: The number of groups :math:`G`, which divides the features.
        group_size: The number of features of a group, in place of `num_groups`, which is then
            None.
        epsilon: What is added to the variance, in its units.
        dtype: The dtype of the result; None for that of `x`.
        param_dtype: The dtype in which parameters are made.
        use_bias: Whether a bias is added.
        use_scale: Whether the result is multiplied by a scale.
        bias_init: The initializer of the bias.
        scale_init: The initializer of the scale.
        reduction_axes: The axes over which the statistics are calculated, the last among
            them; None for all but the first.
        axis_name: Names of mapped axes over which statistics are pooled as well, by count.
        axis_index_groups: Groups of positions of the mapped axis, each pooled alone.
        use_fast_variance: Accepted; the variance is exact either way.
        promote_dtype: A function that promotes (x, scale, bias), instead of ours.
        rngs: The keys for the initializers.
        bias_metadata: Metadata of the bias.
        scale_metadata: Metadata of the scale.

    Raises:
        ValueError: If neither or both of `num_groups` and `group_size` are given, or they do not
            divide the features; if `axis_index_groups` is given without one `axis_name`, or `dtype`
            holds no fractions.

    Example:
        >>> from flax import nnx
        >>> layer = GroupNorm(4, num_groups=2, epsilon=0.0, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([[1.0, 3.0, 10.0, 30.0]])))
        [[-1.  1. -1.  1.]]

    References:
        | Group Normalization (Wu & He, 2018)
        | https://arxiv.org/abs/1803.08494
    """

    reduction_axes: Axes | None
    num_groups: int
    group_size: int

    def __init__(
        self,
        num_features: int,
        num_groups: int | None = 32,
        group_size: int | None = None,
        *,
        epsilon: float = 1e-6,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Initializer = zeros,
        scale_init: Initializer = ones,
        reduction_axes: Axes | None = None,
        axis_name: Any = None,
        axis_index_groups: Any = None,
        use_fast_variance: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Any,
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        scale_metadata: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        groups = group_number(num_features, num_groups, group_size)
        self._set(
            num_features,
            rngs,
            use_scale=use_scale,
            scale_init=scale_init,
            scale_metadata=scale_metadata,
            use_bias=use_bias,
            bias_init=bias_init,
            bias_metadata=bias_metadata,
            epsilon=epsilon,
            dtype=dtype,
            param_dtype=param_dtype,
            reduction_axes=reduction_axes,
            axis_name=axis_name,
            axis_index_groups=axis_index_groups,
            use_fast_variance=use_fast_variance,
            promote_dtype=promote_dtype,
            feature_axis=-1,
            num_groups=groups,
            group_size=num_features // groups,
        )

    def __call__(self, x: Any, *, mask: Any = None) -> Array:
        """Normalizes `x`.

        Args:
            x: The input.
            mask: Which elements take part in the statistics. The others are normalized by them.

        Returns:
            The output, with the shape of `x`.

        Raises:
            ValueError: If a shape does not fit.
        """
        x, scale, bias = self._operands(x)
        over = Over(
            group_axes(self.reduction_axes, jnp.ndim(x)),
            self.epsilon,
            groups=self.num_groups,
            **self._mapped,
        )
        scale, bias = (along(parameter, x, (-1,)) for parameter in (scale, bias))
        return self._result(normalize(over, x, scale, bias, mask_of(mask, x)))


class InstanceNorm(NormalizationLayer):
    r"""Instance normalization as :class:`flax.nnx.InstanceNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Mean and variance are those of each sample and channel. Arguments, attributes and parameters
    are Flax' own.

    Args:
        num_features: The number of features: the product of their axes.
        epsilon: What is added to the variance, in its units.
        dtype: The dtype of the result; None for that of `x`.
        param_dtype: The dtype in which parameters are made.
        use_bias: Whether a bias is added.
        use_scale: Whether the result is multiplied by a scale.
        bias_init: The initializer of the bias.
        scale_init: The initializer of the scale.
        feature_axes: The axes of the features; all others but the first are reduced.
        axis_name: Names of mapped axes over which statistics are pooled as well, by count.
        axis_index_groups: Groups of positions of the mapped axis, each pooled alone.
        use_fast_variance: Accepted; the variance is exact either way.
        promote_dtype: A function that promotes (x, scale, bias), instead of ours.
        rngs: The keys for the initializers.
        bias_metadata: Metadata of the bias.
        scale_metadata: Metadata of the scale.

    Raises:
        ValueError: If `axis_index_groups` is given without one `axis_name`, or `dtype` holds no
            fractions.

    Example:
        >>> from flax import nnx
        >>> layer = InstanceNorm(1, epsilon=0.0, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([[[1.0], [3.0]]])).ravel())
        [-1.  1.]

    References:
        | Instance Normalization: The Missing Ingredient for Fast Stylization (Ulyanov et al., 2016)
        | https://arxiv.org/abs/1607.08022
    """

    feature_axes: Axes

    def __init__(
        self,
        num_features: int,
        *,
        epsilon: float = 1e-6,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Initializer = zeros,
        scale_init: Initializer = ones,
        feature_axes: Axes = -1,
        axis_name: Any = None,
        axis_index_groups: Any = None,
        use_fast_variance: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Any,
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        scale_metadata: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._set(
            num_features,
            rngs,
            use_scale=use_scale,
            scale_init=scale_init,
            scale_metadata=scale_metadata,
            use_bias=use_bias,
            bias_init=bias_init,
            bias_metadata=bias_metadata,
            num_features=num_features,
            epsilon=epsilon,
            dtype=dtype,
            param_dtype=param_dtype,
            feature_axes=feature_axes,
            axis_name=axis_name,
            axis_index_groups=axis_index_groups,
            use_fast_variance=use_fast_variance,
            promote_dtype=promote_dtype,
        )

    def __call__(self, x: Any, *, mask: Any = None) -> Array:
        """Normalizes `x`.

        Args:
            x: The input.
            mask: Which elements take part in the statistics. The others are normalized by them.

        Returns:
            The output, with the shape of `x`.

        Raises:
            ValueError: If a shape does not fit.
        """
        x, scale, bias = self._operands(x)
        over = Over(instance_axes(self.feature_axes, jnp.ndim(x)), self.epsilon, **self._mapped)
        scale, bias = (
            along(parameter, x, front_axes(self.feature_axes, x.ndim))
            for parameter in (scale, bias)
        )
        return self._result(normalize(over, x, scale, bias, mask_of(mask, x)))
