"""Several sums by one pass over memory, as XLA's compilers for GPU and TPU have to be told."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..kernel import Axes

Array = jax.Array

# Over how many rows a column is added up in a first stage. Of 2048 rows at once XLA for GPUs writes
# the terms to memory first: 8.0 arrays of the size of x cross it in the gradients of a layer norm
# of 2048 rows of 4096, 6.04 with stages of 128, 6.13 with 32; of 8192 rows of 768 it is 6.07.
STAGE = 128


def joint_sums(terms: Sequence[Array], axes: Axes) -> list[Array]:
    """The sums of arrays of one shape and dtype over `axes`, kept with size 1."""
    shape = terms[0].shape
    kept = [1 if i - len(shape) in axes else n for i, n in enumerate(shape)]
    zeros = tuple(jnp.zeros((), term.dtype) for term in terms)

    def add(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(p + q for p, q in zip(a, b, strict=True))

    dimensions = sorted(axis + len(shape) for axis in axes)
    return [total.reshape(kept) for total in lax.reduce(tuple(terms), zeros, add, dimensions)]


def staged_sum(x: Array, axes: Axes) -> Array:
    """The sum over leading axes, in two stages that stay apart; dimensions kept with size 1."""
    rank = x.ndim
    leading = [axis + rank for axis in axes if x.shape[axis] > 1]
    if leading != list(range(len(leading))):  # not all in front: as XLA has it
        return jnp.sum(x, axes, keepdims=True)
    kept = [1 if i - rank in axes else n for i, n in enumerate(x.shape)]
    rest = x.shape[len(leading) :]
    rows = x.reshape(-1, *rest)
    stage = _divisor(rows.shape[0])
    if stage == 1 or not leading:
        return jnp.sum(x, axes, keepdims=True)
    partial = jnp.sum(rows.reshape(-1, stage, *rest), 1)
    return jnp.sum(lax.optimization_barrier(partial), 0).reshape(kept)


def _divisor(rows: int) -> int:
    """The largest divisor of `rows` up to :data:`STAGE`, or 1 where that is much less."""
    found = max(d for d in range(1, STAGE + 1) if rows % d == 0)
    return found if found * 4 >= STAGE else 1
