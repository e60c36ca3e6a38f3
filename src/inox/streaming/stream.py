"""What is kept of a stream of observations."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..functional.real_arrays import described
from ..kernels.arithmetic import accumulator
from .caller_checks import named_leaves

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
        >>> stream = init(jax.numpy.zeros(2))
        >>> stream.count, stream.var
        (Array([0., 0.], dtype=float32), Array([0., 0.], dtype=float32))
    """

    count: Any  # pyright: ignore[reportIncompatibleMethodOverride] (hides tuple.count)
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


def init(example: Any) -> Stream:
    """Makes a stream that has seen nothing.

    Args:
        example: One observation, a tree of floating-point arrays or of their types
            (`jax.ShapeDtypeStruct`). Its numbers are not looked at.

    Returns:
        A stream of count 0, whose statistics have the shapes of `example`, in float32 (float64 for
        float64). Each of its arrays is its own, so it can be donated.

    Raises:
        TypeError: If a leaf isn't an array of floating-point numbers.
        ValueError: If there is none.

    Example:
        >>> stream = init({"angle": jax.numpy.zeros(3), "speed": jax.numpy.zeros(())})
        >>> jax.tree.map(jax.numpy.shape, stream.mean)
        {'angle': (3,), 'speed': ()}
    """
    leaves = named_leaves(example, "example")
    if not leaves:
        raise ValueError(
            f"example must hold at least one array; found {described(example)}. Give one "
            "observation, such as environment.reset() returns."
        )
    # A NumPy array may have a dtype that is not enabled: 64 bits count as 32 then, as everywhere.
    dtypes = [jax.dtypes.canonicalize_dtype(leaf.dtype) for leaf in leaves.values()]
    shapes = [leaf.shape for leaf in leaves.values()]
    kinds = list(zip(shapes, map(accumulator, dtypes), strict=True))
    structure = jax.tree.structure(example)
    zeros = [[jnp.zeros(*kind) for kind in kinds] for _ in Stream._fields]
    return Stream(*(jax.tree.unflatten(structure, leaves) for leaves in zeros))
