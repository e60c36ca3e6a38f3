"""What is kept of a stream of observations."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Stream(NamedTuple):
    """The statistics of all observations so far: six trees of arrays, of one structure.

    Each number is kept as a pair, itself and what rounding left of it; the sum of the two is the
    number. A stream is a plain tree: it is saved as one, and made again by `Stream(*six_trees)`.

    Args:
        count: How many observations, or the sum of their weights, for each element.
        count_low: What rounding left of it.
        mean: Their mean.
        mean_low: What rounding left of it.
        squares: The sum of the squared deviations from the mean.
        squares_low: What rounding left of it.

    Example:
        >>> import jax.numpy as jnp, inox.streaming as streaming
        >>> stream = streaming.init(jnp.zeros(2))
        >>> stream.count, stream.var
        (Array([0., 0.], dtype=float32), Array([0., 0.], dtype=float32))
    """

    count: Any
    count_low: Any
    mean: Any
    mean_low: Any
    squares: Any
    squares_low: Any

    @property
    def var(self) -> Any:
        """The biased variance of each element, 0 where there was nothing."""
        return jax.tree.map(_variance, self.count, self.squares, self.squares_low)


def _variance(count: Array, squares: Array, low: Array) -> Array:
    return jnp.where(count > 0, (squares + low) / jnp.where(count > 0, count, 1), 0)
