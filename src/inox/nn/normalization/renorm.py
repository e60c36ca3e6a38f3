"""Batch renormalization: batch norm whose training output follows the running statistics."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from ...functional.arguments import AxisName
from ...functional.array_arguments import ArrayLike, floating
from ...functional.batch import batch_moments, normalized
from ...functional.batch_arguments import Batch
from ...functional.pooling import SplitMoments
from ...kernels.explicit_sharding import alike
from ..parameter import Parameter
from ..state import StateEntry
from .base import constant, static_number
from .batch import BatchNorm
from .running import Statistics

Array = jax.Array
MOST_STEPS = 2**24  # where a count in float32 stops


class BatchRenorm(BatchNorm):
    r"""Creates a batch-renormalization layer.

    .. math:: y = \left( \frac{x - \mu_B}{\sigma_B} r + d \right) \gamma + \beta, \qquad
        r = \left[ \frac{\sigma_B}{\sigma} \right]_{1 / r_\text{max}}^{r_\text{max}}, \qquad
        d = \left[ \frac{\mu_B - \mu}{\sigma} \right]_{-d_\text{max}}^{d_\text{max}}

    where :math:`\mu_B, \sigma_B^2` are mean and (biased) variance of the batch, with epsilon,
    :math:`\mu, \sigma^2` the running ones before this batch, with epsilon, and :math:`[\cdot]`
    limits a number to an interval. Where no limit is reached, the output in training mode is that
    of evaluation mode, :math:`(x - \mu) / \sigma`: it does not depend on which other samples are
    in the batch. So the layer suits small batches and batches whose samples belong together.
    No gradient flows through r and d, as in the paper; so a gradient is still one of batch norm,
    times r.

    In the first `steps` batches r is 1 and d is 0: plain batch norm, until the running statistics
    mean something. The batches are counted in the state, for each channel. With r_max 1 and d_max
    0 the layer is batch norm. The running statistics follow the rule of :class:`BatchNorm`; the
    paper averages standard deviations where that rule averages variances. In evaluation mode the
    layer is batch norm.

    Args:
        channels: The number of channels :math:`C`.
        epsilon: A numerical stability term, in units of the variance: a float (static) or an
            array (a leaf).
        momentum: The weight of the old value in the running estimates, between 0 and 1: a float
            (static) or an array (a leaf).
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        bias: The bias :math:`\beta`, broadcast against `x` from the right; None for 0.
        axis_name: Names of mapped axes over which the batch's statistics are pooled as well.
        r_max: The largest correction of the deviation, at least 1: a float (static) or a scalar
            array (a leaf).
        d_max: The largest correction of the mean, in running deviations, not negative: a float
            (static) or a scalar array (a leaf).
        steps: The number of batches that are normalized as in batch norm.
        skip_nonfinite: Whether the running statistics of a channel are left as they were where
            those of the batch are not finite.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range.

    Example:
        >>> from inox.nn import export_state
        >>> layer, state = export_state(BatchRenorm(3, momentum=0.5, steps=1))
        >>> x = 5 + 2 * jax.random.normal(jax.random.key(0), (64, 3))
        >>> _, running = layer(x, state)  # batch norm
        >>> y, state = layer(x[:4], running)
        >>> layer.train(False)
        >>> expected, _ = layer(x[:4], running)
        >>> print(abs(y - expected).max() < 1e-5)
        True

    References:
        | Batch Renormalization: Towards Reducing Minibatch Dependence (Ioffe, 2017)
        | https://arxiv.org/abs/1702.03275
    """

    r_max: float | Array
    d_max: float | Array
    steps: int

    def __init__(
        self,
        channels: int,
        epsilon: float | Array = 1e-03,
        momentum: float | Array = 0.99,
        *,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
        axis_name: AxisName = None,
        r_max: float | Array = 3.0,
        d_max: float | Array = 5.0,
        steps: int = 1000,
        skip_nonfinite: bool = False,
        implementation: str | None = None,
    ) -> None:
        super().__init__(
            channels,
            epsilon,
            momentum,
            scale=scale,
            bias=bias,
            axis_name=axis_name,
            skip_nonfinite=skip_nonfinite,
            implementation=implementation,
        )
        _check_limit(r_max, "r_max", 1, "1 corrects nothing, the paper uses 3")
        _check_limit(d_max, "d_max", 0, "0 corrects nothing, the paper uses 5")
        self.r_max, self.d_max = static_number(r_max), static_number(d_max)
        self.steps = _number_of_batches(steps)
        self.batches = StateEntry(jnp.zeros(self.channels))

    def _normalize(
        self, batch: Batch, running: Statistics, batches: Array | None
    ) -> tuple[Array, SplitMoments]:
        assert batches is not None
        moments = batch_moments(batch)
        limits = (constant(self.r_max), constant(self.d_max))
        like_running = corrected(batch, moments, running, batches, limits, self.steps)
        return normalized(like_running, moments), moments

    def _momentum(self, batches: Array) -> float | Array:
        return self.momentum  # the batches are counted for r and d, not for a warmup


@functools.partial(jax.jit, static_argnames="steps", inline=True)
def corrected(
    batch: Batch,
    moments: SplitMoments,
    running: Statistics,
    batches: Array,
    limits: tuple[float | Array, float | Array],
    steps: int,
) -> Batch:
    """The batch with the correction by r and d in its scale and bias.

    So the correction is part of the affine map, and the output is rounded once.
    """
    moments, epsilon = lax.stop_gradient((moments, batch.epsilon))
    dtype, axes = moments.mean.dtype, tuple(range(moments.mean.ndim - 1))
    channels = (*(leaf.astype(dtype) for leaf in running), batches)
    channels = (jnp.expand_dims(lax.stop_gradient(leaf), axes) for leaf in channels)
    mean, var, batches, *_ = alike(*channels, *moments)
    r_max, d_max = (jnp.asarray(limit, dtype) for limit in limits)
    deviation = jnp.sqrt(var + epsilon)
    # By the scaled variance, which does not overflow where the variance does.
    of_batch = jnp.sqrt(moments.denominator(epsilon)) / moments.scale
    r = jnp.clip(of_batch / deviation, 1 / r_max, r_max)
    d = jnp.clip(((moments.mean - mean) + moments.mean_low) / deviation, -d_max, d_max)
    relied_on, r, d = alike(batches >= jnp.asarray(steps, batches.dtype), r, d)
    r = jnp.where(relied_on, r, jnp.ones_like(r))
    d = jnp.where(relied_on, d, jnp.zeros_like(d))
    scale, bias = batch.scale, batch.bias
    shift = d if scale is None else d * scale
    return dataclasses.replace(
        batch,
        scale=r if scale is None else r * scale,
        bias=shift if bias is None else shift + bias,
    )


def _number_of_batches(steps: Any) -> int:
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)):
        raise TypeError(f"steps must be an integer; found {steps!r}. Write a number of batches.")
    if not 0 <= steps <= MOST_STEPS:
        raise ValueError(
            f"steps must be between 0 and 2**24; found {steps}. It is the number of batches after "
            "which the running statistics are relied on."
        )
    return int(steps)


def _check_limit(value: Any, name: str, least: float, hint: str) -> None:
    array = isinstance(value, (jax.Array, np.ndarray)) and floating(value, name).ndim == 0
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not (array or number):
        raise TypeError(f"{name} must be a number or a scalar array; found {value!r}.")
    if not isinstance(value, Tracer) and not float(value) >= least:
        raise ValueError(f"{name} must be at least {least}; found {value} ({hint}).")
