"""Arrays whose types say how they are split (meshes with explicit axes, as `jax.make_mesh` makes).

There JAX refuses to mix arrays that are split in different ways. As under automatic axes, the
largest operand decides: the others are split alike, an axis of size 1 not at all. What each device
does with its parts is then known when a program is lowered, and said by a `shard_map`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .kernel import Run, Split


def spec_of(x: Any) -> tuple[Any, ...]:
    """For each axis the mesh axes that the type of `x` names; None elsewhere."""
    sharding = getattr(jax.typeof(x), "sharding", None)
    return tuple(sharding.spec) if sharding is not None else ()


def is_split(x: Any) -> bool:
    """Whether the type of `x` says that it is split over devices."""
    return any(entry is not None for entry in spec_of(x))


def reshard(x: Any, entries: tuple[Any, ...], mesh: Any) -> Any:
    """`x` split in the way given, by a differentiable operation; as it is, where that is so."""
    entries = tuple(e if n != 1 else None for e, n in zip(entries, x.shape, strict=True))
    if entries == spec_of(x):
        return x
    return jax.sharding.reshard(x, NamedSharding(mesh, PartitionSpec(*entries)))


def split_as(x: Any, array: Any) -> Any:
    """`array`, of the rank of `x`, split as `x`."""
    if not (is_split(x) or is_split(array)):
        return array
    # An array that was made outside of the mesh has none in its type, and is on no device alone.
    sharding: Any = jax.typeof(x if is_split(x) else array).sharding
    entries = spec_of(x) if is_split(x) else (None,) * x.ndim
    return reshard(array, entries, sharding.mesh)


def split_as_type(x: Any, kind: Any) -> Any:
    """`x` split as the type of another array of its shape says."""
    sharding = getattr(kind, "sharding", None)
    if sharding is None or all(entry is None for entry in sharding.spec):
        return x
    return reshard(x, tuple(sharding.spec), sharding.mesh)


def align_shardings(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Splits all arrays as the largest of them; they have one rank."""
    if not any(map(is_split, arrays)):
        return arrays
    largest = max(arrays, key=lambda array: math.prod(array.shape))
    return tuple(split_as(largest, array) for array in arrays)


def alike(*arrays: Any) -> tuple[Any, ...]:
    """Arrays of one shape, split alike: an axis as the last of them has it that splits it."""
    if not any(map(is_split, arrays)):
        return arrays
    sharding: Any = next(jax.typeof(x).sharding for x in reversed(arrays) if is_split(x))
    last_first = zip(*(spec_of(x) for x in reversed(arrays) if is_split(x)), strict=True)
    entries = tuple(next(filter(None, given), None) for given in last_first)
    return tuple(reshard(x, entries, sharding.mesh) for x in arrays)


def split_last_axis(x: Any, parts: int) -> Any:
    """(..., C) as (..., parts, C / parts); an axis of size 1 as two of size 1.

    A device that holds some of the channels holds whole parts, or all channels.
    """
    if x.shape[-1] == 1:
        return jax.numpy.reshape(x, (*x.shape, 1))
    shape = (*x.shape[:-1], parts, x.shape[-1] // parts)
    if not is_split(x):
        return jax.numpy.reshape(x, shape)
    mesh = jax.typeof(x).sharding.mesh
    *front, last = spec_of(x)
    names = last if isinstance(last, tuple) else () if last is None else (last,)
    if parts % math.prod(mesh.shape[name] for name in names):
        last = None
        x = reshard(x, (*front, last), mesh)
    split = NamedSharding(mesh, PartitionSpec(*front, last, None))
    return jax.lax.reshape(x, shape, out_sharding=split)


def merge_last_axes(x: Any, like: Any) -> Any:
    """The inverse of :func:`split_last_axis`, for an array of the shape and split of `like`."""
    if not is_split(x):
        return split_as(like, jax.numpy.reshape(x, like.shape))
    sharding: Any = jax.typeof(x).sharding
    merged = NamedSharding(sharding.mesh, PartitionSpec(*spec_of(x)[:-1]))
    return split_as(like, jax.lax.reshape(x, like.shape, out_sharding=merged))


def split_first_axis(x: Any, length: int) -> Any:
    """(N, ...) as (N / length, length, ...); an axis of size 1 as two of size 1.

    A device that holds some of the samples holds whole groups of them, or all.
    """
    if x.shape[0] == 1:
        return jax.numpy.reshape(x, (1, *x.shape))
    parts = x.shape[0] // length
    shape = (parts, length, *x.shape[1:])
    if not is_split(x):
        return jax.numpy.reshape(x, shape)
    mesh = jax.typeof(x).sharding.mesh
    first, *rest = spec_of(x)
    names = first if isinstance(first, tuple) else () if first is None else (first,)
    if parts % math.prod(mesh.shape[name] for name in names):
        first = None
        x = reshard(x, (first, *rest), mesh)
    split = NamedSharding(mesh, PartitionSpec(first, None, *rest))
    return jax.lax.reshape(x, shape, out_sharding=split)


def merge_first_axes(x: Any, like: Any) -> Any:
    """The inverse of :func:`split_first_axis`, for an array of the shape and split of `like`."""
    if not is_split(x):
        return split_as(like, jax.numpy.reshape(x, like.shape))
    sharding: Any = jax.typeof(x).sharding
    first, _, *rest = spec_of(x)
    merged = NamedSharding(sharding.mesh, PartitionSpec(first, *rest))
    return split_as(like, jax.lax.reshape(x, like.shape, out_sharding=merged))


def mapped_by_types(
    on_parts: Callable[[Sequence[Any], Split], tuple[Any, ...]],
    operands: Sequence[Any],
    results: Sequence[Any],
) -> Run | None:
    """What each device does with its parts, as a function of whole arrays; None for other meshes.

    Args:
        on_parts: `(parts of the operands, how the largest is split) -> parts of the results`.
        operands: The types of the operands.
        results: The types of the results.
    """
    largest = max(operands, key=lambda aval: math.prod(aval.shape))
    mesh = largest.sharding.mesh
    if mesh.empty:
        return None  # an array from before the mesh, whole on every device
    if any(kind != AxisType.Explicit for kind in mesh.axis_types):
        return None  # of an automatic axis only XLA knows what it splits, of a manual one no type
    entries = zip(range(-largest.ndim, 0), largest.sharding.spec, strict=True)
    split: Split = {
        axis: entry if isinstance(entry, tuple) else (entry,)
        for axis, entry in entries
        if entry is not None
    }
    return jax.shard_map(
        lambda *arrays: on_parts(arrays, split),
        mesh=mesh,
        in_specs=tuple(aval.sharding.spec for aval in operands),
        out_specs=tuple(aval.sharding.spec for aval in results),
        check_vma=False,  # what was gathered or summed is alike on all devices, as the types say
    )


def split_of_last_axis(x: Any) -> tuple[tuple[str, ...], int] | None:
    """The mesh axes that the type of `x` splits its last axis over, and into how many parts."""
    if not is_split(x) or (entry := spec_of(x)[-1]) is None:
        return None
    names = entry if isinstance(entry, tuple) else (entry,)
    mesh: Any = jax.typeof(x).sharding.mesh
    return names, math.prod(mesh.shape[name] for name in names)


def mapped_as(function: Callable[..., Any], x: Any, *arrays: Any) -> Any:
    """`function(x, *arrays)` on the parts of devices, its axes mapped; the result split as `x`.

    The arrays are split as their types say; None stands for one that is not there.
    """
    mesh: Any = jax.typeof(x).sharding.mesh
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    specs = tuple(None if a is None else PartitionSpec(*spec_of(a)) for a in (x, *arrays))
    run = jax.shard_map(
        function,
        mesh=mesh,
        in_specs=specs,
        out_specs=specs[0],
        axis_names={name for name, kind in kinds if kind == AxisType.Explicit},
    )
    return run(x, *arrays)
