"""Layer and RMS norm for Flax Linen."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core import Over, normalize
from ..flax_conventions import Axes, computed_in, front_axes, mask_of
from .base import (
    Initializer,
    NormalizationLayer,
    mapped_axes,
    nn,
    ones,
    parameters_of,
    result_of,
    zeros,
)

Array = jax.Array


class LayerNorm(NormalizationLayer):
    r"""Layer normalization as :class:`flax.linen.LayerNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Arguments and parameters are Flax' own.

    Args:
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
        force_float32_reductions: Accepted; statistics are computed in float32 at least either way.
        parent: The module that it is part of; Linen sets it.
        name: Its name among the parameters; None for one that Linen numbers.

    Raises:
        ValueError: If `axis_index_groups` is given without one `axis_name`, or `dtype` holds no
            fractions.

    Example:
        >>> layer = LayerNorm(epsilon=0.0)
        >>> x = jnp.array([[1.0, 3.0], [3000.0, 3002.0]])
        >>> print(layer.apply(layer.init(jax.random.key(0), x), x))
        [[-1.  1.]
         [-1.  1.]]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """

    epsilon: float = 1e-6
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = zeros
    scale_init: Initializer = ones
    reduction_axes: Axes = -1
    feature_axes: Axes = -1
    axis_name: Any = None
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @nn.compact
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
        x = computed_in(x, self.dtype)
        over = Over(front_axes(self.reduction_axes, x.ndim), self.epsilon, **mapped_axes(self))
        scale, bias = parameters_of(self, x, self.feature_axes)
        return result_of(self, normalize(over, x, scale, bias, mask_of(mask, x, cast=True)))


class RMSNorm(NormalizationLayer):
    r"""Root-mean-square normalization as :class:`flax.linen.RMSNorm`.

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[x^2] + \epsilon}} \gamma

    Arguments and parameters are Flax' own.

    Args:
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
        force_float32_reductions: Accepted; statistics are computed in float32 at least either way.
        parent: The module that it is part of; Linen sets it.
        name: Its name among the parameters; None for one that Linen numbers.

    Raises:
        ValueError: If `axis_index_groups` is given without one `axis_name`, or `dtype` holds no
            fractions.

    Example:
        >>> layer = RMSNorm(epsilon=0.0)
        >>> x = jnp.array([1.0, 7.0])
        >>> print(layer.apply(layer.init(jax.random.key(0), x), x))
        [0.2 1.4]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """

    epsilon: float = 1e-6
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_scale: bool = True
    scale_init: Initializer = ones
    reduction_axes: Axes = -1
    feature_axes: Axes = -1
    axis_name: Any = None
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @nn.compact
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
        x = computed_in(x, self.dtype)
        over = Over(
            front_axes(self.reduction_axes, x.ndim),
            self.epsilon,
            centred=False,
            **mapped_axes(self),
        )
        scale, bias = parameters_of(self, x, self.feature_axes)
        return result_of(self, normalize(over, x, scale, bias, mask_of(mask, x, cast=True)))
