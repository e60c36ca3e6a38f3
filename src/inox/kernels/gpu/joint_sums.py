"""Sums in as few passes over memory as XLA's compiler for GPUs can be led to."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..kernel import Axes

Array = jax.Array

# Over how many rows a column is added up in a first stage, and from how many on that is one. Of
# 2048 rows at once XLA for GPUs writes the terms to memory first: 8.0 arrays of the size of x cross
# it in the gradients of a layer norm of 2048 rows of 4096, 6.04 with stages of 128. Stages of 256
# have half the sums to write and read: both passes of a group norm over images in bfloat16 move
# 7.13 arrays with 256, 7.22 with 128, and 11.1 with 512, of which XLA writes the terms again.
STAGE, LEAST = 256, 32


def joint_sums(terms: Sequence[Array], axes: Axes) -> list[Array]:
    """The sums of arrays of one shape and dtype over `axes`, kept with size 1, by one pass.

    Axes with others between them (the pixels of an image and the channels of a group) are summed
    one run after the other: at once XLA for GPUs transposes the terms in memory first.
    """
    for run in _runs(axes, terms[0].ndim):
        terms = lax.optimization_barrier(tuple(_reduced(terms, run)))
    return list(terms)


def _runs(axes: Axes, rank: int) -> list[list[int]]:
    """The dimensions in runs of neighbours, the first ones first."""
    runs: list[list[int]] = []
    for dimension in sorted(axis + rank for axis in axes):
        if runs and runs[-1][-1] == dimension - 1:
            runs[-1].append(dimension)
        else:
            runs.append([dimension])
    return runs


def _reduced(terms: Sequence[Array], dimensions: Sequence[int]) -> list[Array]:
    """The sums over neighbouring dimensions: of rows all by one loop, of columns in stages."""
    shape = terms[0].shape
    if dimensions[-1] != len(shape) - 1:
        return [staged_sum(term, dimensions) for term in terms]
    kept = [1 if i in dimensions else n for i, n in enumerate(shape)]
    zeros = tuple(jnp.zeros((), term.dtype) for term in terms)

    def add(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(p + q for p, q in zip(a, b, strict=True))

    return [total.reshape(kept) for total in lax.reduce(tuple(terms), zeros, add, dimensions)]


def total(terms: Array, axes: Axes) -> Array:
    """A sum for the gradient of a parameter; dimensions kept."""
    rank = terms.ndim
    return staged_sum(terms, [i for i in range(rank) if i - rank in axes and terms.shape[i] > 1])


def staged_sum(x: Array, dimensions: Sequence[int]) -> Array:
    """The sum of columns in two stages that stay apart; dimensions kept with size 1."""
    rows = math.prod(x.shape[i] for i in dimensions)
    stage = max(d for d in range(1, STAGE + 1) if rows % d == 0)
    first, last = (dimensions[0], dimensions[-1] + 1) if dimensions else (0, 0)
    neighbours = list(dimensions) == list(range(first, last))
    if not neighbours or stage < LEAST:  # as XLA has it
        return jnp.sum(x, tuple(dimensions), keepdims=True)
    kept = [1 if i in dimensions else n for i, n in enumerate(x.shape)]
    parts = x.reshape(*x.shape[:first], rows // stage, stage, *x.shape[last:])
    partial = lax.optimization_barrier(jnp.sum(parts, first + 1))
    return jnp.sum(partial, first).reshape(kept)
