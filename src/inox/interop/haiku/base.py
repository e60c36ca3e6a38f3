"""What all layers for Haiku share: inputs, axes, and parameters by Haiku's names and shapes."""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...functional.array_arguments import described
from ..optional_packages import framework

framework("haiku", "haiku")
import haiku as hk  # noqa: E402 (after the error that says what to install)

__all__ = [
    "Axis",
    "Initializer",
    "absolute_axes",
    "affine_arrays",
    "as_input",
    "check_initializers",
    "checked_axis",
    "hk",
    "parameter_shape",
]

Array = jax.Array
Axis = int | Sequence[int] | slice
Initializer = Callable[[Sequence[int], Any], Any]


def as_input(inputs: Any) -> Array:
    """The input as a floating-point or complex array; integers become the default float."""
    x = jnp.asarray(inputs)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))


def checked_axis(axis: Any, name: str = "axis") -> tuple[int, ...] | slice:
    """An axis, axes or a slice of them as Haiku's layers keep them."""
    if isinstance(axis, slice):
        return axis
    items = tuple(axis) if isinstance(axis, Iterable) else (axis,)
    try:
        if any(isinstance(item, bool) for item in items):
            raise TypeError
        return tuple(map(operator.index, items))
    except TypeError:
        raise ValueError(
            f"`{name}` should be an int, slice or iterable of ints; found {described(axis)}. Write "
            f"{name}=-1 for the last axis."
        ) from None


def absolute_axes(axis: Any, rank: int, name: str = "axis") -> tuple[int, ...]:
    """An axis, axes or a slice of them, counted from the front, sorted, each once."""
    axes = checked_axis(axis, name)
    if isinstance(axes, slice):
        return tuple(sorted(range(rank)[axes]))
    if outside := [item for item in axes if not -rank <= item < rank]:
        raise ValueError(
            f"{name} {outside[0]} is out of range for inputs of {rank} axes. Use values from "
            f"{-rank} to {rank - 1}."
        )
    return tuple(sorted({item % rank for item in axes}))


def parameter_shape(param_axis: Any, x: Array) -> tuple[int, ...]:
    """The shape of a parameter along axes: of the last alone (C), else with the rank of `x`."""
    axes = absolute_axes(param_axis, x.ndim, "param_axis")
    if axes == (x.ndim - 1,):
        return x.shape[-1:]
    return tuple(length if i in axes else 1 for i, length in enumerate(x.shape))


def check_initializers(**creates: tuple[bool, Initializer | None]) -> None:
    """Raises for an initializer of a parameter that is not created."""
    for name, (create, initializer) in creates.items():
        if not create and initializer is not None:
            raise ValueError(
                f"Cannot set `{name}_init` if `create_{name}=False`: there is no {name} to "
                f"initialize. Leave {name}_init out, or set create_{name}=True."
            )


def affine_arrays(layer: Any, x: Array, shape: Sequence[int], **given: Any) -> list[Any]:
    """Scale and offset, as parameters of the layer or as given at the call; None for neither.

    Args:
        layer: The layer, with Haiku's attributes.
        x: The input.
        shape: The shape of the parameters.
        given: What was given at the call, by name.
    """
    for name, value in given.items():
        if value is None:
            continue
        if getattr(layer, f"create_{name}"):
            raise ValueError(
                f"Cannot pass `{name}` at call time if `create_{name}=True`. Build the layer with "
                f"create_{name}=False to give it at the call."
            )
        _check_broadcasts(value, x, name)
    return [
        hk.get_parameter(name, shape, x.dtype, init=getattr(layer, f"{name}_init"))
        if getattr(layer, f"create_{name}")
        else value
        for name, value in given.items()
    ]


def _check_broadcasts(value: Any, x: Array, name: str) -> None:
    shape = jnp.shape(value)
    aligned = (1,) * (x.ndim - len(shape)) + shape
    if len(aligned) != x.ndim or any(
        a not in (1, n) for a, n in zip(aligned, x.shape, strict=True)
    ):
        raise ValueError(
            f"{name} of shape {shape} does not broadcast to inputs of shape {x.shape}. Give it the "
            "trailing shape of the inputs, with 1 where it does not vary (for channels first: "
            "(C, 1, 1))."
        )
