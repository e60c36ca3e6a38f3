"""The record of an operation: its mathematics, without a word about where it runs.

The operands of every operation have the same rank; a dimension has full size or size 1, as in
broadcasting, and axes are counted from the end (negative). So a batch dimension is a new
dimension in front: no operation needs a batching rule of its own, and none needs to know how
many times it was batched.

An operation is either

- nonlinear: derivatives are attached from outside with `jax.custom_jvp`, in terms of linear
  operations, or
- linear in some of its operands, the others held fixed. A linear operand that is left out stands
  for zero, which is how work is skipped where a tangent is zero. The record brings the transpose;
  the derivative in the other operands is that of the reference.

The reference is the meaning, and what every platform runs that has nothing faster. One JAX
primitive carries every record (:mod:`.primitive`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from .kernel import Parallel

Array = jax.Array


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Operation:
    """The record of an operation.

    Args:
        name: The name, for people and for backends.
        operands: The names of the operands, linear ones first; any may be left out of a call
            unless the reference needs it.
        reference: `(**operands, **static) -> tuple of arrays`, written with `jax.numpy`.
        linear: The names of the operands in which the operation is linear.
        transpose: `(cotangents, wanted, **other operands, **static) -> dict`; `cotangents` holds
            an array or None (zero) for each result, `wanted` maps the name of each linear operand
            that takes a cotangent to its shape and dtype.
        results: `(types of the operands by name, **static) -> types of the results`, or None where
            only a trace of the reference tells them. They have the shape that all operands have
            together, or size 1 along some of its axes.
        parallel: `(operands by name, **static) -> Parallel`, for the part that a device holds. An
            operation without it runs on parts as its reference does.
        always_by_parts: Whether `parallel` is for platforms without kernels as well: because XLA,
            which splits the reference by itself, exchanges more in the usual case.
    """

    name: str
    operands: tuple[str, ...]
    reference: Callable[..., tuple[Array, ...]]
    linear: tuple[str, ...] = ()
    transpose: Callable[..., Mapping[str, Array]] | None = None
    results: Callable[..., tuple[Any, ...] | None] | None = None
    parallel: Callable[..., Parallel] | None = None
    always_by_parts: bool = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def run(
        self, names: tuple[str, ...], static: Mapping[str, Any]
    ) -> Callable[..., tuple[Array, ...]]:
        """The reference as a function of positional arrays."""

        def positional(*arrays: Array) -> tuple[Array, ...]:
            return tuple(self.reference(**dict(zip(names, arrays, strict=True)), **static))

        return positional
