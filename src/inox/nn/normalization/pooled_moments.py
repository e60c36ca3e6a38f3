r"""Exact moments of many batches, one after the other, in numbers of twice the precision.

Batch i has the count :math:`n_i`, the mean :math:`m_i` and the variance :math:`v_i`. What is kept
of the batches so far is their count :math:`n`, their mean :math:`m` and the sum of squares
:math:`s = n v`, and a batch changes them by (Chan, Golub & LeVeque 1983)

.. math:: n' = n + n_i, \qquad \delta = m_i - m, \qquad
    m' = m + \frac{n_i}{n'} \delta, \qquad
    s' = s + n_i v_i + \frac{n n_i}{n'} \delta^2

**The bound.** Each of the three is a sum, and each sum is kept as a pair (a number, what rounding
left of it): :func:`two_sum` finds the rounding error of an addition exactly, so that k additions
cost no more accuracy than one. What is left are the errors of the terms. With the rounding unit
:math:`u = 2^{-24}` in float32:

- The terms of s are not negative, so nothing cancels: the relative error of the sum is at most the
  largest one of a term. :math:`n_i v_i` has that of the batch's variance and 1 u,
  :math:`n (n_i / n') \delta^2` has 6 u and twice that of :math:`\delta`.
- :math:`\delta` is the difference of two pairs. The difference of the larger halves is exact where
  they are within a factor of 2 of each other, that is, where the mean is large against the
  spread; elsewhere it errs by u of itself.
- Dividing s by n, and adding the halves of m, rounds once more each.

So the mean is within 1 ulp of the larger of mean and deviation and the variance within 4 ulp,
whatever the number of batches, where a plain running sum loses a unit a batch. The mean of one
batch is needed as a pair, too: rounded to float32 it is off by half a unit in its last place,
which at a mean of 1e6 deviations is 3% of a deviation, and would be taken for a spread.

The sum of squares must stay in the range of the dtype: count times variance below 3e38.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import lax

from ...functional.moments import Moments
from ...functional.pooling import SplitMoments
from ...kernels.explicit_sharding import alike
from ..state import StateKey
from .containers import read
from .entries import check_trainable, shapes_of

Array = jax.Array
FIELDS = 7


class PooledMoments(NamedTuple):
    """The moments of all batches so far: `state[pooling_key(layer)]` of a state that pools.

    Args:
        count: The number of elements of each channel, or the sum of their weights.
        count_low: What rounding left of it.
        mean: The mean of each channel.
        mean_low: What rounding left of it.
        squares: The sum of the squared deviations from the mean.
        squares_low: What rounding left of it.
        elements: The number of elements with a weight above 0, which is asked for two. In float32
            it stops at 2²⁴.

    Example:
        >>> pool = PooledMoments.empty(jax.numpy.zeros(2))
        >>> print(pool.moments.count)
        [0. 0.]
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride] (hides tuple.count)
    count_low: Array
    mean: Array
    mean_low: Array
    squares: Array
    squares_low: Array
    elements: Array

    @classmethod
    def empty(cls, like: Array) -> Self:
        """The moments of no batch.

        Args:
            like: An array with the shape and dtype that the moments have.

        Returns:
            Moments of count 0.
        """
        # An array of its own for each: a state that is donated must not hold one twice.
        return cls(*(jnp.zeros_like(like) for _ in range(FIELDS)))

    def including(
        self, key: str, batch: SplitMoments, elements: Array | None = None
    ) -> "PooledMoments":
        """The moments of all batches so far and one more.

        Args:
            key: The key at which the moments stand; a recorder of calls keeps it.
            batch: The moments of the batch, with a dimension of size 1 for each axis reduced.
            elements: How many elements of each channel have a weight, where `batch` has a sum of
                weights for its count.

        Returns:
            The pooled moments.
        """
        return _including(self, batch, elements)

    @property
    def moments(self) -> Moments:
        """Count, mean and biased variance of all batches, 0 where there was nothing."""
        number = _positive(self.count)
        var = (self.squares + self.squares_low) / number
        return Moments(self.count, self.mean + self.mean_low, var)


def _positive(count: Array) -> Array:
    """A count, or a sum of weights, to divide by: 1 where there was nothing."""
    return jnp.where(count > 0, count, jnp.ones_like(count))


def _choose(first: Array, chosen: Sequence[Array], other: Sequence[Array]) -> list[Array]:
    return [jnp.where(first, one, two) for one, two in zip(chosen, other, strict=True)]


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and its rounding error, exactly (Knuth 1969)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def add(total: Array, low: Array, term: Array) -> tuple[Array, Array]:
    """A pair (number, what rounding left of it) plus a number."""
    # A product that is contracted with the sum to one rounding is not the number whose error is
    # found afterwards.
    total, error = two_sum(total, lax.optimization_barrier(term))
    low = low + error
    # Brought back to a number and less than half a unit of its last place.
    new = total + low
    finite = jnp.isfinite(total)  # what rounding left of an infinite sum is not a number
    low = jnp.where(finite, low - (new - total), jnp.zeros_like(low))
    return jnp.where(finite, new, total), low


# Compiled on its own where nothing else is: one call in place of sixty.
@functools.partial(jax.jit, inline=True)
def _including(old: PooledMoments, batch: SplitMoments, elements: Array | None) -> PooledMoments:
    """The moments of all batches so far and one more."""
    dtype, axes = old.mean.dtype, tuple(range(batch.mean.ndim - 1))
    parts = (batch.count, batch.mean, batch.mean_low, batch.var)
    count, mean, low, var = (jnp.squeeze(p, axes) for p in lax.stop_gradient(parts))
    mean, low = two_sum(mean, low)
    rounded = mean.astype(dtype)
    low = (mean - rounded.astype(mean.dtype)) + low
    terms = (count.astype(dtype), rounded, low.astype(dtype), var.astype(dtype))
    several = terms[0] if elements is None else lax.stop_gradient(elements).astype(dtype)
    *own, number, mean, low, var, several = alike(*old, *terms, several)
    pool = PooledMoments(*own)
    count = add(pool.count, pool.count_low, number)
    weight = number / _positive(count[0])
    delta = (mean - pool.mean) + (low - pool.mean_low)
    moved = add(pool.mean, pool.mean_low, weight * delta)
    within = add(pool.squares, pool.squares_low, number * var)
    squares = add(*within, (pool.count * weight) * lax.square(delta))
    # The first batch as it is: 0 plus its mean would round the pair.
    first, seen = pool.count == 0, number > 0
    new = PooledMoments(
        *count,
        *_choose(first, (mean, low), moved),
        *_choose(first, within, squares),
        elements=pool.elements + several,
    )
    return type(old)(*_choose(seen, new, pool))


def pooling_key(stats: Any) -> StateKey:
    """The key of the pooled moments that belong to the running statistics at the key `stats`."""
    return StateKey(f"{stats}.pooled")


def pool_in(state: Mapping[str, Any], stats: Any, channels: int) -> Any:
    """The pooled moments of a layer in a state, also as a checkpoint left them; None without."""
    key = pooling_key(stats)
    if key not in state:
        return None
    entry = state[key]
    if not isinstance(entry, tuple) and hasattr(entry, "including"):  # a recorder of calls
        return entry
    values = read(entry, PooledMoments)
    shapes = shapes_of(jax.tree.leaves(entry) if values is None else values)
    if values is None or shapes != [(channels,)] * FIELDS:
        raise ValueError(
            f"state[{str(key)!r}] must be PooledMoments, {FIELDS} arrays of shape ({channels},); "
            f"found {type(entry).__name__} with arrays of shapes {shapes}. Make it with "
            "inox.calibration.accumulate(model, state)."
        )
    check_trainable({key: values})
    return PooledMoments(*map(jnp.asarray, values))
