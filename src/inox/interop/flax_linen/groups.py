"""Group and instance norm for Flax Linen."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core import Over, normalize
from ..flax_conventions import Axes, computed_in, group_axes, group_number, instance_axes, mask_of
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


class GroupNorm(NormalizationLayer):
    r"""Group normalization as :class:`flax.linen.GroupNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Mean and variance are those of each group of neighbouring features. Arguments and parameters
    are Flax' own.

    Args:
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
        force_float32_reductions: Accepted; statistics are computed in float32 at least either way.
        parent: The module that it is part of; Linen sets it.
        name: Its name among the parameters; None for one that Linen numbers.

    Raises:
        ValueError: If neither or both of `num_groups` and `group_size` are given, or
            `axis_index_groups` without one `axis_name`, or `dtype` holds no fractions.

    Example:
        >>> layer = GroupNorm(num_groups=2, epsilon=0.0)
        >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
        >>> print(layer.apply(layer.init(jax.random.key(0), x), x))
        [[-1.  1. -1.  1.]]

    References:
        | Group Normalization (Wu & He, 2018)
        | https://arxiv.org/abs/1803.08494
    """

    num_groups: int | None = 32
    group_size: int | None = None
    epsilon: float = 1e-6
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = zeros
    scale_init: Initializer = ones
    reduction_axes: Axes | None = None
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
        axes = group_axes(self.reduction_axes, x.ndim)
        groups = group_number(x.shape[-1], self.num_groups, self.group_size)
        over = Over(axes, self.epsilon, groups=groups, **mapped_axes(self))
        scale, bias = parameters_of(self, x, -1)
        return result_of(self, normalize(over, x, scale, bias, mask_of(mask, x, cast=True)))


class InstanceNorm(NormalizationLayer):
    r"""Instance normalization as :class:`flax.linen.InstanceNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Mean and variance are those of each sample and channel. Arguments and parameters are Flax' own.

    Args:
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
        force_float32_reductions: Accepted; statistics are computed in float32 at least either way.
        parent: The module that it is part of; Linen sets it.
        name: Its name among the parameters; None for one that Linen numbers.

    Raises:
        ValueError: If `axis_index_groups` is given without one `axis_name`, or `dtype` holds no
            fractions.

    Example:
        >>> layer = InstanceNorm(epsilon=0.0)
        >>> x = jnp.array([[[1.0], [3.0]]])
        >>> print(layer.apply(layer.init(jax.random.key(0), x), x).ravel())
        [-1.  1.]

    References:
        | Instance Normalization: The Missing Ingredient for Fast Stylization (Ulyanov et al., 2016)
        | https://arxiv.org/abs/1607.08022
    """

    epsilon: float = 1e-6
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = zeros
    scale_init: Initializer = ones
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
        over = Over(instance_axes(self.feature_axes, x.ndim), self.epsilon, **mapped_axes(self))
        scale, bias = parameters_of(self, x, self.feature_axes)
        return result_of(self, normalize(over, x, scale, bias, mask_of(mask, x, cast=True)))
