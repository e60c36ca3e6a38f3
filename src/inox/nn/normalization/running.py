"""Running statistics: what batch norm remembers of the batches it has seen."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ...functional.moments import Moments
from ...kernels.explicit_sharding import alike

Array = jax.Array


class Statistics(NamedTuple):
    """The running statistics of a batch norm, `state[layer.stats]`.

    Args:
        mean: The mean of each channel, an array of shape :math:`(C)`.
        var: The (biased) variance of each channel, an array of shape :math:`(C)`.

    Example:
        >>> from inox.nn import BatchNorm, export_state
        >>> layer, state = export_state(BatchNorm(2))
        >>> print(state[layer.stats].var)
        [1. 1.]
    """

    mean: Array
    var: Array


def move(old: Array, new: Array, momentum: Array, rest: Array) -> Array:
    r"""The running average :math:`\alpha s + (1 - \alpha) s_\text{batch}`.

    Written as a correction to the nearer end, so that the weights add up to 1 exactly, momentum
    0 gives the new value and momentum 1 the old one, to the bit. `rest` is 1 - momentum: of 0.99
    in float32 it would be 0.00999999.
    """
    alpha = momentum.astype(old.dtype)
    one = jnp.ones_like(alpha)
    near_old = old + rest.astype(old.dtype) * (new - old)
    near_new = new + alpha * (old - new)
    moved = jnp.where(alpha < jnp.asarray(0.5, alpha.dtype), near_new, near_old)
    # At the ends also where the other value is not finite, as 0 times it would not be 0.
    return jnp.where(alpha == one, old, jnp.where(alpha == jnp.zeros_like(one), new, moved))


def updated(
    running: Statistics,
    batch: Moments,
    momentum: float | Array,
    skip_nonfinite: bool,
    mean_of_one: bool = False,
    elements: Array | None = None,
) -> tuple[Statistics, Array]:
    """The running statistics after a batch, and which channels it has changed.

    A channel stays as it was of which the batch holds fewer than two elements: nothing, or one,
    which has no variance (with `mean_of_one`, its mean moves all the same, as under the names of
    other frameworks). How many there are is the count, or, where that is a sum of weights,
    `elements`. With `skip_nonfinite` a channel whose mean or variance is not finite stays as it
    was, too. The variance of numbers from 1e19 on is no float32, and counts as the largest one. No
    gradient flows into the state.
    """
    rest = 1 - momentum
    return _updated(running, batch, momentum, rest, elements, skip_nonfinite, mean_of_one)


# Compiled on its own where nothing else is: one call in place of thirty.
@functools.partial(jax.jit, static_argnames=("skip_nonfinite", "mean_of_one"), inline=True)
def _updated(
    running: Statistics,
    batch: Moments,
    momentum: float | Array,
    rest: float | Array,
    elements: Array | None,
    skip_nonfinite: bool,
    mean_of_one: bool,
) -> tuple[Statistics, Array]:
    batch = lax.stop_gradient(batch)
    number = batch.count if elements is None else lax.stop_gradient(elements)
    several = number > jnp.ones_like(number)
    counted = number > jnp.zeros_like(number) if mean_of_one else several
    finite = jnp.isfinite(batch.mean)
    if skip_nonfinite:
        several &= finite & jnp.isfinite(batch.var)
        counted &= several
    dtype = running.mean.dtype
    alpha, one_less = (
        jnp.broadcast_to(jnp.asarray(weight, dtype), running.mean.shape)
        for weight in (momentum, rest)
    )
    largest = jnp.full_like(running.mean, jnp.finfo(dtype).max)
    *arrays, counted, several, finite, alpha, one_less, largest = alike(
        *running,
        batch.mean.astype(dtype),
        batch.var.astype(dtype),
        counted,
        several,
        finite,
        alpha,
        one_less,
        largest,
    )
    old_mean, old_var, mean, var = arrays
    mean = jnp.where(finite, jnp.clip(mean, -largest, largest), mean)
    var = jnp.where(finite, jnp.minimum(var, largest), var)
    mean = jnp.where(counted, move(old_mean, mean, alpha, one_less), old_mean)
    var = jnp.where(several, move(old_var, var, alpha, one_less), old_var)
    return Statistics(mean, var), several
