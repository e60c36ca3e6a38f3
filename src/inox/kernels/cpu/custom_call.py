"""A call of the library, with arrays as its handlers take them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .library import TARGETS

Array = jax.Array


def call(
    symbol: str,
    results: Sequence[tuple[int, Any]],
    *operands: Array,
    shape: Sequence[int],
    **attributes: Any,
) -> tuple[Array, ...]:
    """A call with flat arrays, which have but one layout: for another, XLA would copy them.

    Args:
        symbol: The kernel.
        results: The number of elements and the dtype of each result.
        *operands: The arrays, of any shape.
        shape: What the elements of x are: (P, N, M, G, C).
        **attributes: Other settings of the kernel.
    """
    types = [jax.ShapeDtypeStruct((size,), dtype) for size, dtype in results]
    sizes = np.array(shape, np.int64)
    target = jax.ffi.ffi_call(TARGETS[symbol], types)
    return tuple(target(*(array.reshape(-1) for array in operands), shape=sizes, **attributes))


def nothing(dtype: Any) -> Array:
    """An operand that is left out."""
    return jnp.zeros((0,), dtype)


def supported(x: Any, *others: Any) -> bool:
    """Whether an array, and others that must be like it, have a dtype the kernels know."""
    known = (jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64)
    return x.dtype in known and all(other.dtype == x.dtype for other in others)
