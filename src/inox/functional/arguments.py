"""Checks and conversions of arguments, made before any computation.

Every message names the argument, what was found and the cure.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.explicit_sharding import split_as
from ..kernels.jax_internals import bound_axis_names
from ..kernels.kernel import Axes
from ..kernels.mapped_axes import Names, axis_size
from .array_arguments import ArrayLike, described, floating
from .scalar_arguments import check_not_negative, integer

Array = jax.Array
AxisName = Hashable | Sequence[Hashable] | None

# More axes than an array has: a number beyond is the size of an axis.
MOST_AXES = 64


def static_axes(axis: int | Sequence[int], name: str = "axis") -> Axes:
    """`axis` as a tuple of Python integers without repetition (as far as can be told)."""
    given: Any = axis  # whatever it is annotated as
    try:
        axes = (integer(given),)
    except TypeError:
        try:
            axes = tuple(map(integer, given))
        except TypeError:
            raise TypeError(
                f"{name} must be an integer or a sequence of integers; found {described(axis)}. "
                f"Write {name}=-1 for the last axis."
            ) from None
    if outside := [item for item in axes if not -MOST_AXES <= item < MOST_AXES]:
        raise ValueError(
            f"{name} {outside[0]} is out of range for any array: it names an axis, not its size. "
            f"Write {name}=-1 for the last axis, whatever its size."
        )
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name} must not repeat an axis; found {axis!r}. List each axis once.")
    if not axes:
        raise ValueError(
            f"{name} must list at least one axis; found {axis!r}. Use -1 for the last."
        )
    return axes


def negative_axes(
    axis: int | Sequence[int], shape: Sequence[int], name: str = "axis", array: str = "x"
) -> Axes:
    """`axis` as a sorted tuple of axes counted from the end, checked against an array's shape."""
    rank = len(shape)
    axes = static_axes(axis, name)
    if rank == 0:
        raise ValueError(
            f"{name} {axis!r} is out of range for {array} of shape (), a scalar. Give it an axis: "
            f"{array}[None]."
        )
    for item in axes:
        if not -rank <= item < rank:
            raise ValueError(
                f"{name} {item} is out of range for {array} of shape {tuple(shape)}, which has "
                f"{rank} axes. Use values from {-rank} to {rank - 1}; it names an axis, not its "
                "size."
            )
    negative = tuple(sorted(item if item < 0 else item - rank for item in axes))
    if len(set(negative)) != len(negative):
        raise ValueError(
            f"{name} must not repeat an axis; found {axis!r}, which names one axis of {array} of "
            f"shape {tuple(shape)} twice. List each axis once."
        )
    return negative


def has_axes_of(array: Array, x: Array) -> bool:
    """Whether an array has the rank of `x`, and along each axis its size or 1."""
    sizes = zip(array.shape, x.shape, strict=False)
    return array.ndim == x.ndim and all(size in (1, whole) for size, whole in sizes)


def _check_shape(shape: tuple[int, ...], x: Array, name: str, hint: str) -> None:
    aligned = (1,) * (x.ndim - len(shape)) + shape
    if len(shape) > x.ndim or any(a not in (1, n) for a, n in zip(aligned, x.shape, strict=True)):
        raise ValueError(
            f"{name} of shape {shape} does not broadcast to x of shape {x.shape}. {hint}"
        )


def scale_or_bias(value: ArrayLike | None, name: str) -> Array | None:
    """A scale or bias as a floating-point array, of any shape."""
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        raise TypeError(
            f"{name} must be an array or a number; found {described(value)}. Write "
            f"jnp.asarray({name}). A shape (PyTorch's normalized_shape) is not given here: axis "
            "tells the axes to normalize."
        )
    if isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == jnp.bool_:
        start = "zeros" if name == "bias" else "ones"
        raise TypeError(
            f"{name} must hold numbers, not a switch; found {described(value)}. Give the array, "
            f"for example jnp.{start}(channels), or None to leave it out."
        )
    return floating(value, name)


def affine_array(value: ArrayLike | None, x: Array, name: str) -> Array | None:
    """A scale or bias as a floating-point array that broadcasts to `x` from the right."""
    array = scale_or_bias(value, name)
    if array is not None:
        _check_shape(
            array.shape,
            x,
            name,
            "It broadcasts from the right: give it the trailing shape of x, with 1 where it does "
            "not vary (per sample: scale[:, None]).",
        )
    return array


def affine_operand(array: Array | None, x: Array, dtype: Any, mask: Array | None) -> Array | None:
    """A scale or bias with the rank of `x`, in the dtype of the statistics.

    What it holds for masked elements alone is 0, as it may have been computed from padding.
    """
    if array is None:
        return None
    aligned = (1,) * (x.ndim - array.ndim) + array.shape
    spread = split_as(x, jnp.reshape(array, aligned).astype(dtype))
    if mask is None:
        return spread
    shared = tuple(axis for axis, length in enumerate(aligned) if length == 1)
    return jnp.where(jnp.any(mask, shared, keepdims=True), spread, jnp.zeros_like(spread))


def mask_operand(where: ArrayLike | None, x: Array) -> Array | None:
    """A mask, which has the rank of `x`.

    With fewer axes it would broadcast from the right: a mask of tokens (N, L) to the channels of
    x (N, L, C), where C happens to be L.
    """
    if where is None:
        return None
    try:
        array = where if isinstance(where, jax.Array) else jnp.asarray(where)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"where must be a boolean array; found {described(where)}. Compare to make one, for "
            "example x > 0."
        ) from None
    if array.dtype != jnp.bool_:
        raise TypeError(
            f"where must be boolean; found dtype {array.dtype}. Convert it, for example with "
            "where != 0 or where.astype(bool)."
        )
    if not has_axes_of(array, x):
        raise ValueError(
            f"where of shape {array.shape} does not broadcast to x of shape {x.shape}: give it "
            "as many axes, each of x's size or 1. A mask of tokens (N, L) needs a channel axis: "
            "where[..., None]. Where all elements take part, leave it out."
        )
    return split_as(x, array)


def statistic_operand(value: ArrayLike, x: Array, name: str, dtype: Any, axes: Axes) -> Array:
    """A given mean or variance of each channel with the rank of `x`, in the statistics' dtype."""
    kept = tuple(length for i, length in enumerate(x.shape) if i - x.ndim not in axes)
    statistic = floating(value, f"statistics {name}")
    kinds = [
        leaf.dtype if hasattr(leaf, "dtype") else np.dtype(type(leaf))
        for leaf in jax.tree.leaves(value)
    ]
    if kinds and not any(jnp.issubdtype(kind, jnp.floating) for kind in kinds):
        raise TypeError(
            f"statistics {name} must be floating-point; found dtype {kinds[0]}. Convert it, for "
            "example with jnp.asarray(value, jnp.float32)."
        )
    if statistic.shape != kept:
        raise ValueError(
            f"statistics {name} must have one value a channel, shape {kept} for x of shape "
            f"{x.shape}; found shape {statistic.shape}. Reduce over all axes but the channels'."
        )
    if name == "var":
        check_not_negative(
            value, "statistics var", "Give the variance of each channel; the order is (mean, var)."
        )
    shape = [1 if i - x.ndim in axes else length for i, length in enumerate(x.shape)]
    return split_as(x, jnp.reshape(statistic, shape).astype(dtype))


def check_axis_name(axis_name: AxisName) -> Names:
    """`axis_name` as a tuple of names of mapped axes, bound or not."""
    if axis_name is None:
        return ()
    names = tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)
    if not names:
        raise ValueError(
            f"axis_name must name at least one mapped axis; found {axis_name!r}. Leave it out for "
            "the statistics of x alone."
        )
    for name in names:
        try:
            hash(name)
        except TypeError:
            wrong = True
        else:
            wrong = name is None or isinstance(name, (int, float, tuple, jax.Array, np.generic))
        if wrong:
            raise TypeError(
                f"axis_name must be a name or a tuple of names; found {described(axis_name)}. "
                "Write the name that jax.vmap(..., axis_name='batch') or a mesh gives the axis; "
                "the axes of x itself are pooled without it."
            )
    if len(set(map(repr, names))) != len(names):
        raise ValueError(f"axis_name must not repeat a name; found {names}. Give each name once.")
    return names


def bound_names(axis_name: AxisName) -> Names:
    """`axis_name` as a tuple of names of mapped axes, all of them bound."""
    names = check_axis_name(axis_name)
    for name in names:
        try:
            axis_size(name)
        except (NameError, TypeError):
            bound = ", ".join(map(repr, bound_axis_names())) or "none"
            raise ValueError(
                f"axis_name {name!r} is not bound; bound here: {bound}. Call inside "
                f"jax.vmap(..., axis_name={name!r}) or a jax.shard_map over that axis, or leave "
                "axis_name out for the statistics of x alone."
            ) from None
    return names
