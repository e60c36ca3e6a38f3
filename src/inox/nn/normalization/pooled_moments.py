"""Exact moments of many batches, one after the other, in numbers of twice the precision.

Each of count, mean and sum of squares is kept as a pair (a number, what rounding left of it), and
a batch is pooled with what there was: :mod:`inox.functional.pairs` has the formula, and a bound for
the worst case. What the additions cost is no matter then, and a variance errs by the error of the
largest of its terms alone, as none is negative: that of the batch's variance, or 6 roundings and
twice that of the difference of two means, which are pairs as well. Dividing by the count, and
adding the halves of the mean, rounds once more each. So the mean is within 1 ulp of the larger of
mean and deviation and the variance within 4 ulp, whatever the number of batches, where a plain
running sum loses a unit a batch.

The sum of squares must stay in the range of the dtype: count times variance below 3e38.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import lax

from ...functional.moments import Moments
from ...functional.pairs import Pairs, pairs_of, pool_pairs
from ...functional.pooling import SplitMoments, nonzero
from ...kernels.explicit_sharding import alike
from ..state import StateKey
from .containers import read
from .entries import check_trainable, shapes_of

Array = jax.Array
FIELDS = 7


class PooledMoments(NamedTuple):
    """The moments of all batches so far: `state[pooling_key(layer.stats)]` of a state that pools.

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
        number = nonzero(self.count)
        var = (self.squares + self.squares_low) / number
        return Moments(self.count, self.mean + self.mean_low, var)


# Compiled on its own where nothing else is: one call in place of sixty.
@functools.partial(jax.jit, inline=True)
def _including(old: PooledMoments, batch: SplitMoments, elements: Array | None) -> PooledMoments:
    """The moments of all batches so far and one more."""
    axes = tuple(range(batch.mean.ndim - 1))
    batch = SplitMoments(*(jnp.squeeze(array, axes) for array in lax.stop_gradient(batch)))
    *own, number = old
    before = Pairs(*zip(own[::2], own[1::2], strict=True))
    count, mean, squares = pool_pairs(before, pairs_of(batch))
    several = batch.count if elements is None else lax.stop_gradient(elements)
    seen, number, more = alike(batch.count > 0, number, several.astype(number.dtype))
    number = jnp.where(seen, number + more, number)
    return type(old)(*count, *mean, *squares, number)


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
