"""Batch norm for Flax NNX."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from ..core import Over, along, moved, normalize_batch, normalize_by
from ..flax_conventions import mask_of, other_axes
from .base import Initializer, NormalizationLayer, PromoteDtype, nnx, ones, promote_dtype, zeros

Array = jax.Array


class BatchNorm(NormalizationLayer):
    r"""Batch normalization as :class:`flax.nnx.BatchNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Arguments, attributes, parameters and running statistics are Flax' own, so checkpoints,
    filters and optimizer states of a model stay as they are. In training mode a batch moves the
    running statistics; one element of a channel has no variance, and leaves the running one.

    Args:
        num_features: The number of features.
        use_running_average: Whether the running statistics are used, and not the batch's. `train`
            and `eval` of the model set it.
        axis: The axis of the features.
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
        promote_dtype: A function that promotes (x, mean, var, scale, bias), instead of ours.
        rngs: The keys for the initializers.
        bias_metadata: Metadata of the bias.
        scale_metadata: Metadata of the scale.

    Raises:
        ValueError: If `axis_index_groups` is given without one `axis_name`, or `dtype` holds no
            fractions.

    Example:
        >>> from flax import nnx
        >>> layer = BatchNorm(3, rngs=nnx.Rngs(0))
        >>> y = layer(jnp.arange(12.0).reshape(4, 3))
        >>> print(layer.mean[...])
        [0.045 0.055 0.065]
        >>> layer.eval()
        >>> y = layer(jnp.arange(12.0).reshape(4, 3))

    References:
        | Batch Normalization: Accelerating Deep Network Training (Ioffe & Szegedy, 2015)
        | https://arxiv.org/abs/1502.03167
    """

    use_running_average: bool | None
    axis: Any
    momentum: float

    def __init__(
        self,
        num_features: int,
        *,
        use_running_average: bool | None = False,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Initializer = zeros,
        scale_init: Initializer = ones,
        axis_name: Any = None,
        axis_index_groups: Any = None,
        use_fast_variance: bool = True,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Any,
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        scale_metadata: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.mean = nnx.BatchStat(jnp.zeros((num_features,), jnp.float32))
        self.var = nnx.BatchStat(jnp.ones((num_features,), jnp.float32))
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
            use_running_average=use_running_average,
            axis=axis,
            momentum=momentum,
            epsilon=epsilon,
            dtype=dtype,
            param_dtype=param_dtype,
            axis_name=axis_name,
            axis_index_groups=axis_index_groups,
            use_fast_variance=use_fast_variance,
            promote_dtype=promote_dtype,
        )

    def __call__(
        self, x: Any, use_running_average: bool | None = None, *, mask: Any = None
    ) -> Array:
        """Normalizes `x`.

        Args:
            x: The input.
            use_running_average: The mode of this call; None for the layer's own.
            mask: Which elements take part in the statistics. The others are normalized by them.

        Returns:
            The output, with the shape of `x`.

        Raises:
            ValueError: If neither the call nor the layer says the mode, or a shape does not fit.
        """
        evaluates = self.use_running_average if use_running_average is None else use_running_average
        if evaluates is None:
            raise ValueError(
                "use_running_average is None, in the layer and in the call. Say the mode: "
                "BatchNorm(..., use_running_average=False), layer(x, use_running_average=False), "
                "or model.train() and model.eval()."
            )
        x, mean, var, scale, bias = self._operands(x, self.mean[...], self.var[...])
        features = self.axis if isinstance(self.axis, (tuple, list)) else (self.axis,)
        over = Over(other_axes(features, x.ndim), self.epsilon, **self._mapped)
        scale, bias = (along(parameter, x, features) for parameter in (scale, bias))
        along(mean, x, features)  # or the error that tells the number of features
        mask = mask_of(mask, x)
        if evaluates:
            kept = tuple(x.shape[axis] for axis in range(x.ndim) if axis not in over.axes)
            mean, var = (statistic.reshape(kept) for statistic in (mean, var))
            return self._result(normalize_by(over, x, mean, var, scale, bias, mask))
        y, moments = normalize_batch(over, x, scale, bias, mask)
        moments = jax.tree.map(lambda array: array.reshape(-1), moments)
        mean, self.var[...] = moved(self.mean[...], self.var[...], moments, self.momentum)
        if jnp.iscomplexobj(mean):  # written into the old array it would lose its imaginary part
            self.mean.set_value(mean)
        else:
            self.mean[...] = mean
        return self._result(y)

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Sets the mode of a view, for `nnx.view`.

        Args:
            use_running_average: Whether the running statistics are used; None leaves it.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average
