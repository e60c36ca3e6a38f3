"""Checks and conversions of arguments, made before any computation.

Every message names the argument, what was found and the cure.
"""

import operator
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from ..kernels.jax_internals import bound_axis_names

Array = jax.Array
ArrayLike = jax.typing.ArrayLike
Axes = tuple[int, ...]
AxisName = Hashable | Sequence[Hashable] | None


def floating(x: ArrayLike, name: str = "x") -> Array:
    """`x` as a floating-point array; integers and booleans become the default float."""
    try:
        x = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be an array of real numbers; found {x!r}. ({error})"
        ) from None
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(
            f"{name} must be real; found dtype {x.dtype}. Normalize real and imaginary parts "
            "apart, for example as two channels."
        )
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x
    if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == jnp.bool_:
        return x.astype(jnp.result_type(float))
    raise TypeError(f"{name} must hold real numbers; found dtype {x.dtype}.")


def static_axes(axis: int | Sequence[int], name: str = "axis") -> Axes:
    """`axis` as a tuple of Python integers without repetition (as far as can be told)."""
    try:
        axes = (operator.index(axis),)  # type: ignore[arg-type]
    except TypeError:
        try:
            axes = tuple(operator.index(item) for item in axis)  # type: ignore[union-attr]
        except TypeError:
            raise TypeError(
                f"{name} must be an integer or a sequence of integers; found {axis!r}. Write "
                f"{name}=-1 for the last axis."
            ) from None
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name} must not repeat an axis; found {axis!r}. List each axis once.")
    if not axes:
        raise ValueError(
            f"{name} must list at least one axis; found {axis!r}. Use -1 for the last."
        )
    return axes


def negative_axes(axis: int | Sequence[int], shape: Sequence[int], name: str = "axis") -> Axes:
    """`axis` as a sorted tuple of axes counted from the end, checked against `shape`."""
    rank = len(shape)
    axes = static_axes(axis, name)
    if rank == 0:
        raise ValueError(
            f"{name} {axis!r} is out of range for x of shape (), a scalar. Give x an axis: x[None]."
        )
    for item in axes:
        if not -rank <= item < rank:
            raise ValueError(
                f"{name} {item} is out of range for x of shape {tuple(shape)}, which has {rank} "
                f"axes. Use values from {-rank} to {rank - 1}; it names an axis, not its size."
            )
    negative = tuple(sorted(item if item < 0 else item - rank for item in axes))
    if len(set(negative)) != len(negative):
        raise ValueError(
            f"{name} must not repeat an axis; found {axis!r}, which names one axis of x of shape "
            f"{tuple(shape)} twice. List each axis once."
        )
    return negative


def _aligned_shape(shape: tuple[int, ...], x: Array, name: str, hint: str) -> tuple[int, ...]:
    aligned = (1,) * (x.ndim - len(shape)) + shape
    if len(shape) > x.ndim or any(a not in (1, n) for a, n in zip(aligned, x.shape, strict=True)):
        raise ValueError(
            f"{name} of shape {shape} does not broadcast to x of shape {x.shape}. {hint}"
        )
    return aligned


def affine_operand(
    value: ArrayLike | None, x: Array, name: str, dtype: Any, mask: Array | None
) -> Array | None:
    """A scale or bias with the rank of `x`, in the dtype of the statistics.

    What it holds for masked elements alone is 0, as it may have been computed from padding.
    """
    if value is None:
        return None
    array = floating(value, name)
    aligned = _aligned_shape(
        array.shape,
        x,
        name,
        "It broadcasts from the right: give it the trailing shape of x, with 1 where it does not "
        "vary (per sample: scale[:, None]).",
    )
    array = jnp.reshape(array, aligned).astype(dtype)
    if mask is None:
        return array
    shared = tuple(axis for axis, length in enumerate(aligned) if length == 1)
    return jnp.where(jnp.any(mask, shared, keepdims=True), array, jnp.zeros_like(array))


def mask_operand(where: ArrayLike | None, x: Array) -> Array | None:
    """A mask with the rank of `x`."""
    if where is None:
        return None
    try:
        array = jnp.asarray(where)
    except (TypeError, ValueError) as error:
        raise TypeError(f"where must be a boolean array; found {where!r}. ({error})") from None
    if array.dtype != jnp.bool_:
        raise TypeError(
            f"where must be boolean; found dtype {array.dtype}. Convert it, for example with "
            "where != 0 or where.astype(bool)."
        )
    return jnp.reshape(
        array,
        _aligned_shape(
            array.shape,
            x,
            "where",
            "A mask of tokens (N, L) needs a channel axis: where[..., None].",
        ),
    )


def check_unit_interval(value: Any, name: str) -> None:
    """Raises where a concrete `value` is outside [0, 1]."""
    _check_scalar(value, name)
    if not isinstance(value, Tracer) and not bool(
        np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1))
    ):
        raise ValueError(
            f"{name} must be in [0, 1]; found {value}. It is the weight of the old running value: "
            "a framework that counts the new one's (PyTorch's 0.1) means 0.9 here."
        )


def check_epsilon(value: Any) -> None:
    """Raises where a concrete epsilon is negative or not a number."""
    _check_scalar(value, "epsilon")
    if isinstance(value, int) and value >= 1:
        raise ValueError(
            f"epsilon must be a small number such as 1e-05; found {value}. If it is meant as a "
            "number of channels or features: no layer but BatchNorm takes one."
        )
    if np.shape(value) != ():
        raise ValueError(
            f"epsilon must be a scalar; found shape {np.shape(value)}. For one a layer, build "
            "stacked layers and map over them with jax.vmap."
        )
    if not isinstance(value, Tracer) and not bool(np.asarray(value) >= 0):
        raise ValueError(
            f"epsilon must not be negative; found {value}. It is added to the variance: use a "
            "small positive number such as 1e-05."
        )


def _check_scalar(value: Any, name: str) -> None:
    kind = getattr(value, "dtype", None)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number and not (kind is not None and jnp.issubdtype(kind, jnp.floating)):
        raise TypeError(
            f"{name} must be a float or a floating-point array; found {value!r}. Write a number "
            "such as 0.1, or jnp.asarray(0.1) for one that is traced."
        )


def epsilon_operand(epsilon: Any, x: Array, dtype: Any) -> Array:
    """Epsilon as a scalar with the rank of `x`, in the dtype of the statistics."""
    check_epsilon(epsilon)
    if isinstance(epsilon, (int, float)):
        return jnp.full((1,) * x.ndim, epsilon, dtype)
    return jnp.reshape(epsilon, (1,) * x.ndim).astype(dtype)


def bound_names(axis_name: AxisName) -> tuple[Hashable, ...]:
    """`axis_name` as a tuple of names of mapped axes, all of them bound."""
    if axis_name is None:
        return ()
    names = tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)
    if len(set(map(repr, names))) != len(names):
        raise ValueError(f"axis_name must not repeat a name; found {names}. Give each name once.")
    for name in names:
        try:
            if not isinstance(name, str) and isinstance(name, int):
                raise NameError
            lax.axis_size(name)  # type: ignore[arg-type]
        except (NameError, TypeError):
            bound = ", ".join(map(repr, bound_axis_names())) or "none"
            raise ValueError(
                f"axis_name {name!r} is not bound; bound here: {bound}. Call inside "
                f"jax.vmap(..., axis_name={name!r}) or a jax.shard_map over that axis, or leave "
                "axis_name out for the statistics of this batch alone."
            ) from None
    return names


def group_count(groups: int, channels: int, shape: Sequence[int]) -> int:
    """`groups`, checked to divide the channels."""
    groups = positive_integer(groups, "groups")
    if channels % groups:
        raise ValueError(
            f"groups must divide the number of channels; found groups={groups} and {channels} "
            f"channels in x of shape {tuple(shape)}. Choose a divisor of {channels}."
        )
    return groups


def positive_integer(value: int, name: str) -> int:
    """`value` as a Python integer above 0."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; found {value!r}.") from None
    if isinstance(value, bool) or number < 1:
        raise ValueError(f"{name} must be an integer above 0; found {value!r}.")
    return number
