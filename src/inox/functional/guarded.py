"""Elementwise operations whose rounding a compiler may change, so that a platform may guard it.

The references are the mathematics. The CPU's entries (`kernels/cpu/guards.py`) tell what XLA makes
of it there, and what that costs.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels import arithmetic
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from ..kernels.result_types import all_known, same_as

Array = jax.Array


def _divided(*, x: Array, number: Array | None = None, count: int | None) -> tuple[Array]:
    if number is not None:
        return (x / jnp.maximum(number, jnp.ones_like(number)),)
    return (x / jnp.asarray(count, x.dtype),)


def _transpose(operation: str) -> Any:
    """The operations are linear in x and multiply each element: their own transposes."""

    def transpose(
        cotangents: tuple[Array | None, ...], wanted: Mapping[str, Any], **operands: Any
    ) -> dict[str, Array]:
        (cotangent,) = cotangents
        assert cotangent is not None
        static = {"count": operands.pop("count")} if "count" in operands else {}
        (x,) = apply(OPERATIONS[operation], static, x=cotangent, **operands)
        return {"x": x}

    return transpose


# A sum over how many elements it has, at least 1.
DIVIDED = Operation(
    "divided",
    ("x", "number"),
    _divided,
    linear=("x",),
    transpose=_transpose("divided"),
    results=lambda types, **_: all_known([same_as("x", types)]),
)
# By a power of two, which rounds nothing.
TIMES_POWER = Operation(
    "times_power",
    ("x", "power"),
    lambda *, x, power: (x * power,),
    linear=("x",),
    transpose=_transpose("times_power"),
    results=lambda types, **_: all_known([same_as("x", types)]),
)
# A mean as it is subtracted in several places.
PINNED = Operation(
    "pinned",
    ("x",),
    lambda *, x: (arithmetic.pinned(x),),
    results=lambda types, **_: all_known([same_as("x", types)]),
)
# A reciprocal standard deviation, 0 in a slice of equal numbers.
LEVELLED = Operation(
    "levelled",
    ("x", "variance", "mean"),
    lambda *, x, variance, mean: (arithmetic.levelled(x, variance, mean),),
    results=lambda types, **_: all_known([same_as("x", types)]),
)
OPERATIONS = {operation.name: operation for operation in (DIVIDED, TIMES_POWER)}


def divided(x: Array, number: Array | np.ndarray) -> Array:
    """`x` over a count, known while tracing or computed from a mask (0 counts as 1)."""
    if isinstance(number, np.ndarray):
        return apply(DIVIDED, {"count": max(1, int(number.item()))}, x=x)[0]
    return apply(DIVIDED, {"count": None}, x=x, number=number)[0]


def times_power(x: Array, power: Array) -> Array:
    """`x` times a power of two."""
    return apply(TIMES_POWER, {}, x=x, power=power)[0]


@jax.custom_jvp
def pinned(x: Array) -> Array:
    """`x` but for its last digits, the same wherever it is used; the identity to derivatives."""
    return apply(PINNED, {}, x=x)[0]


@pinned.defjvp
def _pinned_derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return pinned(*primals), tangents[0]


@jax.custom_jvp
def levelled(x: Array, variance: Array, mean: Array) -> Array:
    """`x`, 0 where the variance is smaller than that of unequal numbers can be."""
    return apply(LEVELLED, {}, x=x, variance=variance, mean=mean)[0]


@levelled.defjvp
def _levelled_derivative(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    return levelled(*primals), tangents[0]
