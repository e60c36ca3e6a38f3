"""Layer and RMS norm for Flax NNX."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from ..core import Over, along, normalize
from ..flax_conventions import Axes, front_axes, mask_of
from .base import Initializer, NormalizationLayer, PromoteDtype, ones, promote_dtype, zeros

Array = jax.Array


class LayerNorm(NormalizationLayer):
    r"""Layer normalization as :class:`flax.nnx.LayerNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Arguments, attributes and parameters are Flax' own.

    Args:
        num_features: The number of features: the product of their axes.
        epsilon: What is added to the variance, in its units.
        dtype: The dtype of the result; None for that of `x`.
        param_dtype: The dtype in which parameters are made.
        use_bias: Whether a bias is added.
        use_scale: Whether the result is multiplied by a scale.
        bias_init: The initializer of the bias.
        scale_init: The initializer of the scale.
        reduction_axes: The axes over which the statistics are calculated.
        feature_axes: The axes along which the parameters lie, several in any place.
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
        >>> layer = LayerNorm(2, epsilon=0.0, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([[1.0, 3.0], [3000.0, 3002.0]])))
        [[-1.  1.]
         [-1.  1.]]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """

    reduction_axes: Axes
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
        reduction_axes: Axes = -1,
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
            reduction_axes=reduction_axes,
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
        over = Over(front_axes(self.reduction_axes, jnp.ndim(x)), self.epsilon, **self._mapped)
        scale, bias = (
            along(parameter, x, front_axes(self.feature_axes, x.ndim))
            for parameter in (scale, bias)
        )
        return self._result(normalize(over, x, scale, bias, mask_of(mask, x)))


class RMSNorm(NormalizationLayer):
    r"""Root-mean-square normalization as :class:`flax.nnx.RMSNorm`.

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}} \gamma

    Arguments, attributes and parameters are Flax' own.

    Args:
        num_features: The number of features: the product of their axes.
        epsilon: What is added to the mean square, in its units.
        dtype: The dtype of the result; None for that of `x`.
        param_dtype: The dtype in which parameters are made.
        use_scale: Whether the result is multiplied by a scale.
        scale_init: The initializer of the scale.
        reduction_axes: The axes over which the statistics are calculated.
        feature_axes: The axes along which the parameters lie, several in any place.
        axis_name: Names of mapped axes over which statistics are pooled as well, by count.
        axis_index_groups: Groups of positions of the mapped axis, each pooled alone.
        use_fast_variance: Accepted; the variance is exact either way.
        promote_dtype: A function that promotes (x, scale), instead of ours.
        rngs: The keys for the initializers.
        scale_metadata: Metadata of the scale.

    Raises:
        ValueError: If `axis_index_groups` is given without one `axis_name`, or `dtype` holds no
            fractions.

    Example:
        >>> from flax import nnx
        >>> layer = RMSNorm(2, epsilon=0.0, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([1.0, 7.0])))
        [0.2 1.4]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """

    reduction_axes: Axes
    feature_axes: Axes

    def __init__(
        self,
        num_features: int,
        *,
        epsilon: float = 1e-6,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        use_scale: bool = True,
        scale_init: Initializer = ones,
        reduction_axes: Axes = -1,
        feature_axes: Axes = -1,
        axis_name: Any = None,
        axis_index_groups: Any = None,
        use_fast_variance: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Any,
        scale_metadata: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._set(
            num_features,
            rngs,
            use_scale=use_scale,
            scale_init=scale_init,
            scale_metadata=scale_metadata,
            num_features=num_features,
            epsilon=epsilon,
            dtype=dtype,
            param_dtype=param_dtype,
            reduction_axes=reduction_axes,
            feature_axes=feature_axes,
            axis_name=axis_name,
            axis_index_groups=axis_index_groups,
            use_fast_variance=use_fast_variance,
            promote_dtype=promote_dtype,
        )

    def __call__(self, x: Any, mask: Any = None) -> Array:
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
            front_axes(self.reduction_axes, jnp.ndim(x)),
            self.epsilon,
            centred=False,
            **self._mapped,
        )
        scale, bias = (
            along(parameter, x, front_axes(self.feature_axes, x.ndim))
            for parameter in (scale, bias)
        )
        return self._result(normalize(over, x, scale, bias, mask_of(mask, x)))
