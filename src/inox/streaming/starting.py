"""A stream that has seen nothing."""

from typing import Any

import jax
import jax.numpy as jnp

from ..functional.array_arguments import described
from ..kernels.arithmetic import accumulator
from .arguments import named_leaves
from .stream import Stream


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
