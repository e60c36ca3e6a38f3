"""Checks of sample weights, made before any computation.

Every message names the argument, what was found and the cure.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.explicit_sharding import split_as
from .arguments import has_axes_of
from .array_arguments import ArrayLike, floating
from .scalar_arguments import concrete

Array = jax.Array


def weights_operand(weights: ArrayLike | None, x: Array, dtype: Any) -> Array | None:
    """Weights of elements, with the rank of `x`, in the dtype of the statistics."""
    if weights is None:
        return None
    if _boolean(weights):
        raise TypeError(
            "weights must be numbers, not a mask; found booleans. Give a mask as where, which "
            "leaves elements out of the output as well, or convert it: weights.astype(x.dtype)."
        )
    array = floating(weights, "weights")
    if not has_axes_of(array, x):
        raise ValueError(
            f"weights of shape {array.shape} do not broadcast to x of shape {x.shape}: give them "
            "as many axes, each of x's size or 1. One weight a sample, (N,), needs an axis for "
            "each of the others: weights.reshape(-1, *(1,) * (x.ndim - 1))."
        )
    numbers = concrete(weights)
    if numbers is not None and not np.all((numbers >= 0) & (numbers < np.inf)):
        wrong = numbers[~((numbers >= 0) & (numbers < np.inf))].reshape(-1)[0]
        raise ValueError(
            f"weights must be finite and not negative; found {wrong:g}. Write 0 for elements that "
            "take no part."
        )
    return split_as(x, array.astype(dtype))


def _boolean(weights: Any) -> bool:
    """Whether weights are booleans, in an array or in lists."""
    leaves = jax.tree.leaves(weights)
    return bool(leaves) and all(
        isinstance(leaf, bool) or getattr(leaf, "dtype", None) == jnp.bool_ for leaf in leaves
    )


def check_weights_by(implementation: str | None, weights: Any) -> None:
    """Raises where kernels are asked for, which know no weights."""
    if weights is not None and implementation not in (None, "xla"):
        raise ValueError(
            f"implementation={implementation!r} has no kernel for weights; found "
            f"weights of shape {np.shape(weights)}. Use implementation=None: it picks the kernels "
            "where there are any and XLA elsewhere."
        )
