"""Batch norm for Flax Linen."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core import Over, moved, normalize_batch, normalize_by
from ..flax_conventions import Axes, computed_in, front_axes, mask_of, other_axes
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


class BatchNorm(NormalizationLayer):
    r"""Batch normalization as :class:`flax.linen.BatchNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Arguments, parameters and the collection `batch_stats` are Flax' own, so checkpoints, filters
    and optimizer states of a model stay as they are. In training mode a batch moves the running
    statistics, but for `init`; one element of a channel has no variance, and leaves the running
    one.

    Args:
        use_running_average: Whether the running statistics are used, and not the batch's; None
            leaves it to the call.
        axis: The axis of the features, or several.
        momentum: The weight of the old running statistics.
        epsilon: What is added to the variance, in its units.
        dtype: The dtype of the result; None for that of `x`.
        param_dtype: The dtype in which parameters are made.
        use_bias: Whether a bias is added.
        use_scale: Whether the result is multiplied by a scale.
        bias_init: The initializer of the bias.
        scale_init: The initializer of the scale.
        axis_name: Names of mapped axes over which statistics are pooled as well, by count.
        axis_index_groups: Groups of positions of the mapped axis, each pooled alone.
        use_fast_variance: Accepted; the variance is exact either way.
        force_float32_reductions: Accepted; statistics are computed in float32 at least either way.
            Running ones are kept in `param_dtype` where it is False.
        parent: The module that it is part of; Linen sets it.
        name: Its name among the parameters; None for one that Linen numbers.

    Raises:
        ValueError: If `axis_index_groups` is given without one `axis_name`, or `dtype` holds no
            fractions.

    Example:
        >>> layer = BatchNorm(use_running_average=False)
        >>> x = jnp.arange(12.0).reshape(4, 3)
        >>> variables = layer.init(jax.random.key(0), x)
        >>> y, updates = layer.apply(variables, x, mutable=["batch_stats"])
        >>> print(updates["batch_stats"]["mean"])
        [0.045 0.055 0.065]

    References:
        | Batch Normalization: Accelerating Deep Network Training (Ioffe & Szegedy, 2015)
        | https://arxiv.org/abs/1502.03167
    """

    use_running_average: bool | None = None
    axis: Axes = -1
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = zeros
    scale_init: Initializer = ones
    axis_name: Any = None
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @nn.compact
    def __call__(
        self, x: Any, use_running_average: bool | None = None, *, mask: Any = None
    ) -> Array:
        """Normalizes `x`.

        Args:
            x: The input.
            use_running_average: The mode of this call, where the layer says none.
            mask: Which elements take part in the statistics. The others are normalized by them.

        Returns:
            The output, with the shape of `x`.

        Raises:
            ValueError: If neither or both of the call and the layer say the mode, or a shape does
                not fit.
        """
        evaluates = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        x = computed_in(x, self.dtype)
        features = front_axes(self.axis, x.ndim)
        over = Over(other_axes(features, x.ndim), self.epsilon, **mapped_axes(self))
        shape = tuple(x.shape[axis] for axis in features)
        kept_in = jnp.float32 if self.force_float32_reductions else self.param_dtype
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, kept_in)
        var = self.variable("batch_stats", "var", jnp.ones, shape, kept_in)
        scale, bias = parameters_of(self, x, features)
        mask = mask_of(mask, x, cast=True)
        if evaluates:
            return result_of(self, normalize_by(over, x, mean.value, var.value, scale, bias, mask))
        if self.is_initializing():  # the mapped axis need not be there yet
            over = over._replace(axis_name=None, index_groups=None)
        y, moments = normalize_batch(over, x, scale, bias, mask)
        if not self.is_initializing():
            mean.value, var.value = moved(mean.value, var.value, moments, self.momentum)
        return result_of(self, y)
