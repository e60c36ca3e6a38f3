"""Checks of what an Equinox layer is built from, and of what it is called with."""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...functional.array_arguments import described, floating
from ...functional.scalar_arguments import check_epsilon, check_switch

Array = jax.Array


def shape_of(shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape, given as a number or as several."""
    given: Any = shape  # whatever it is annotated as
    try:
        sizes = (operator.index(given),)
    except TypeError:
        try:
            sizes = tuple(operator.index(size) for size in given)
        except TypeError:
            raise TypeError(
                f"shape must be an integer or a sequence of integers; found {described(shape)}. "
                "Write the shape of one sample, for example LayerNorm(128)."
            ) from None
    if any(size < 0 for size in sizes):
        raise ValueError(
            f"shape must not be negative; found {shape!r}. Write the shape of one sample."
        )
    return sizes


def dtype_of(dtype: Any) -> Any:
    """The dtype of parameters: the default floating-point type for None."""
    found = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(found, jnp.inexact):
        raise TypeError(
            f"dtype must be a floating-point or complex type; found {found}. Leave it out for "
            f"{jnp.result_type(float)}."
        )
    return found


def check_settings(eps: Any, **switches: Any) -> None:
    """Raises where epsilon is negative or not finite, or a switch is neither True nor False."""
    check_epsilon(eps)
    for name, value in switches.items():
        check_switch(value, name)


def sample(x: Any) -> Array:
    """`x` as a floating-point or complex array."""
    return x if jnp.iscomplexobj(x) and isinstance(x, jax.Array) else _converted(x)


def _converted(x: Any) -> Array:
    if jnp.iscomplexobj(x):
        return jnp.asarray(x)
    return floating(x)
