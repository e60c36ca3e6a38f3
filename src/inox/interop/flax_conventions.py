"""What Flax's two module systems share: axes, masks, dtypes, groups of devices and of channels.

Nothing here imports Flax.
"""

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

import jax
import jax.numpy as jnp

from ..functional.array_arguments import described
from ..kernels.mapped_axes import IndexGroups
from .core import grouped_positions

Array = jax.Array
Axes = int | Sequence[int]


def front_axes(axes: Axes, rank: int) -> tuple[int, ...]:
    """Axes counted from the front, sorted, each once."""
    listed = tuple(map(index, axes if isinstance(axes, Iterable) else (axes,)))
    for axis in listed:
        if not -rank <= axis < rank:
            raise ValueError(
                f"axis {axis} is out of range for an x of {rank} axes; found {axes!r}. Use values "
                f"from {-rank} to {rank - 1}, or give x the axes that the layer is for."
            )
    return tuple(sorted({axis % rank for axis in listed}))


def other_axes(axes: Axes, rank: int, first: int = 0) -> tuple[int, ...]:
    """All axes from `first` on but those given."""
    left_out = front_axes(axes, rank)
    return tuple(axis for axis in range(first, rank) if axis not in left_out)


def instance_axes(feature_axes: Axes, rank: int) -> tuple[int, ...]:
    """The axes that an instance norm reduces: all but the first and those of the features."""
    if 0 in front_axes(feature_axes, rank):
        raise ValueError(
            "The channel axes cannot include the leading dimension as this is assumed to be the "
            f"batch axis. Found feature_axes={feature_axes} for an x of {rank} axes: leave axis 0 "
            "out."
        )
    return other_axes(feature_axes, rank, 1)


def group_axes(reduction_axes: Axes | None, rank: int) -> tuple[int, ...]:
    """The axes that a group norm reduces: those given, or all but the first."""
    if reduction_axes is None and rank < 2:
        raise ValueError(
            f"x must have a batch axis and a channel axis, (N, *, C); found {rank} axes. Add one, "
            "x[None], or give reduction_axes=(-1,)."
        )
    axes = range(1, rank) if reduction_axes is None else front_axes(reduction_axes, rank)
    if rank - 1 not in axes:
        raise ValueError(
            f"reduction_axes must include the last axis, which holds the features; found "
            f"{reduction_axes} for an x of {rank} axes. Add -1."
        )
    return tuple(axes)


def group_number(features: int, num_groups: int | None, group_size: int | None) -> int:
    """How many groups the features make: as many as said, or as many as their size gives."""
    if (num_groups is None) == (group_size is None):
        raise ValueError(
            "One of num_groups and group_size must be given, the other None; found num_groups="
            f"{num_groups} and group_size={group_size}. num_groups is 32 unless told otherwise: "
            "with group_size write num_groups=None."
        )
    name, number = ("group_size", group_size) if num_groups is None else ("num_groups", num_groups)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{name} must be an integer above 0; found {described(number)}.")
    if features % number:
        raise ValueError(
            f"{name}={number} does not divide the {features} features. Choose a divisor."
        )
    return features // number if num_groups is None else number


def mask_of(mask: Any, x: Array, *, cast: bool = False) -> Array | None:
    """A mask, which broadcasts to `x` from the right, with the rank of `x`.

    Linen casts numbers to booleans, NNX refuses them.
    """
    if mask is None:
        return None
    array = jnp.asarray(mask)
    if cast:
        array = array.astype(bool)
    elif array.dtype != jnp.bool_:
        raise TypeError(
            f"mask must be boolean; found dtype {array.dtype}. Compare to make one, for example "
            "mask > 0."
        )
    aligned = (1,) * (x.ndim - array.ndim) + array.shape
    if len(aligned) != x.ndim or any(
        a not in (1, n) for a, n in zip(aligned, x.shape, strict=True)
    ):
        raise ValueError(
            f"mask of shape {array.shape} does not broadcast to x of shape {x.shape}. A mask of "
            "tokens (N, L) needs an axis for the features: mask[..., None]."
        )
    return array.reshape(aligned)


def computed_in(x: Any, dtype: Any) -> Array:
    """`x` in the dtype in which it is normalized: its own, or `dtype` where that holds more.

    JAX promotes no number of 8 bits or fewer; float32 holds all of these.
    """
    x = jnp.asarray(x)
    if dtype is None:
        return x
    kinds = (
        kind if kind.itemsize > 1 else jnp.dtype(jnp.float32)
        for kind in (x.dtype, jnp.dtype(dtype))
    )
    with jax.numpy_dtype_promotion("standard"):
        return x.astype(jnp.promote_types(*kinds))


def check_dtype(dtype: Any) -> None:
    """Raises where the dtype of the result is one that holds no fractions."""
    if dtype is not None and not jnp.issubdtype(jnp.dtype(dtype), jnp.inexact):
        raise ValueError(
            f"dtype must be a floating-point or complex one; found {jnp.dtype(dtype)}. Leave it "
            "out for that of x."
        )


def index_groups(axis_name: Any, groups: Any) -> IndexGroups:
    """Groups of positions of a mapped axis as tuples, checked as far as can be without the axis."""
    if groups is None:
        return None
    if axis_name is None or (isinstance(axis_name, (tuple, list)) and len(axis_name) != 1):
        raise ValueError(
            f"axis_index_groups needs an axis_name, and one alone; found axis_name={axis_name!r}. "
            "Name the mapped axis whose positions are grouped."
        )
    listed, once = grouped_positions(groups)
    if not once:
        raise ValueError(
            f"axis_index_groups must hold each position of the axis once; found {groups!r}. For "
            "two groups of two write [[0, 1], [2, 3]]."
        )
    return listed
