"""Running statistics: what batch norm remembers of the batches it has seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ...functional.moments import Moments

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


def move(old: Array, new: Array, momentum: float | Array) -> Array:
    r"""The running average :math:`\alpha s + (1 - \alpha) s_\text{batch}`.

    Written as a correction to the nearer end, so that the weights add up to 1 exactly, momentum
    0 gives the new value and momentum 1 the old one, to the bit.
    """
    alpha = jnp.asarray(momentum, old.dtype)
    one = jnp.ones_like(alpha)
    near_old = old + (one - alpha) * (new - old)
    near_new = new + alpha * (old - new)
    moved = jnp.where(alpha < jnp.asarray(0.5, alpha.dtype), near_new, near_old)
    # At the ends also where the other value is not finite, as 0 times it would not be 0.
    return jnp.where(alpha == one, old, jnp.where(alpha == jnp.zeros_like(one), new, moved))


def updated(
    running: Statistics,
    batch: Moments,
    momentum: float | Array,
    skip_nonfinite: bool,
) -> tuple[Statistics, Array]:
    """The running statistics after a batch, and which channels it has changed.

    A channel of which the batch holds nothing (count 0) stays as it was, and so does, with
    `skip_nonfinite`, one whose mean or variance is not finite. No gradient flows into the state.
    """
    batch = lax.stop_gradient(batch)
    seen = batch.count > 0
    if skip_nonfinite:
        seen &= jnp.isfinite(batch.mean) & jnp.isfinite(batch.var)

    def step(old: Array, new: Array) -> Array:
        return jnp.where(seen, move(old, new.astype(old.dtype), momentum), old)

    return Statistics(step(running.mean, batch.mean), step(running.var, batch.var)), seen
