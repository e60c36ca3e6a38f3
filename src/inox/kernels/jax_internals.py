"""Every name of JAX that is not part of its documented interface, wrapped in one place.

Tested with jax 0.10.2 on Python 3.11 and with the newest jax on Python 3.13; the test suite
runs on both. What is used, and why there is no documented way:

- `Primitive`, `ad`, `batching`, `mlir`: a new primitive with its own transposition, batching and
  lowering per platform. `jax.custom_jvp` and friends have no custom transposition that can be
  batched.
- `varying_axes`, `manual_axis_names`: over which mapped axes of a `shard_map` a value varies, and
  which there are. What is done with that, by documented names, stands in `mapped_axes.py`.
- `custom_partitioning`, `mesh_axes`: how XLA may split an operation over devices, and did;
  `partitioning_spoils_cache`.
- `require_devices`, `devices_of_lowering`, `is_export`, `types_tell_devices`: for how many devices,
  and for what, a primitive is lowered.
- `type_like`: the type of an array like another, for results that need no trace.
- `bind_again`: the equations of a program, to write it out in other primitives.
- `register_float_checks`: that `jax.experimental.checkify` looks at the results of a primitive.
- `export_allows`: that exported programs may call our kernels. Their calls are versioned
  (`cpu/library.py`), which is what JAX's check is for.
- `bound_axis_names`: which axis names are bound, for an error message alone.
- `pallas`, `shape_like`: the language of the kernels for TPU, loaded where one is lowered, and the
  types of what they write.
"""

import functools
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType, PartitionSpec

try:  # jax.extend.core has it, too, but loads Pallas with it: 20 of the 60 ms that an import took
    from jax._src.core import Primitive
except ImportError:
    from jax.extend.core import Primitive

__all__ = [
    "Primitive",
    "ad",
    "batching",
    "bind_again",
    "bound_axis_names",
    "custom_partitioning",
    "devices_of_lowering",
    "export_allows",
    "is_export",
    "manual_axis_names",
    "mesh_axes",
    "mlir",
    "pallas",
    "partitioning_spoils_cache",
    "register_float_checks",
    "require_devices",
    "shape_like",
    "type_like",
    "types_tell_devices",
    "varying_axes",
]


def varying_axes(x: Any) -> frozenset[str]:
    """The mapped axes over which `x` varies inside a `shard_map` (empty elsewhere)."""
    kind: Any = jax.typeof(x)
    if hasattr(kind, "manual_axis_type"):
        return frozenset(kind.manual_axis_type.varying)
    return frozenset(kind.vma)


def manual_axis_names() -> frozenset[str]:
    """The mesh axes that an enclosing `shard_map` has mapped."""
    mesh: Any = jax.sharding.get_abstract_mesh()
    return frozenset(mesh.manual_axes)


def bound_axis_names() -> tuple[str, ...]:
    """The axis names that an enclosing `vmap`, `pmap` or `shard_map` has bound."""
    try:
        from jax._src.core import get_axis_env

        return tuple(map(str, get_axis_env().axis_names()))
    except (ImportError, AttributeError):  # an error message can do without
        return ()


def type_like(x: Any, shape: tuple[Any, ...], dtype: Any) -> Any:
    """The type of an array that is split and varies as one of type `x`, not split where of size 1.

    Args:
        x: The type of an array.
        shape: As that of `x`, or 1 along some axes.
        dtype: The dtype.
    """
    sharding = x.sharding
    if any(entry is not None for entry in sharding.spec):
        spec = (e if n != 1 else None for e, n in zip(sharding.spec, shape, strict=True))
        sharding = sharding.update(spec=PartitionSpec(*spec))
    return x.update(shape=shape, dtype=jnp.dtype(dtype), weak_type=False, sharding=sharding)


def register_float_checks(*primitives: Primitive) -> None:
    """Lets `checkify.float_checks` look at the results of primitives, once checkify is in use.

    Its module is not loaded for that: it takes longer than all of ours.
    """
    checkify = sys.modules.get("jax._src.checkify")
    checks = getattr(checkify, "error_checks", None)
    check = getattr(checkify, "nan_error_check", None)
    if checks is None or check is None:
        return
    for primitive in primitives:
        if primitive not in checks:
            checks[primitive] = functools.partial(check, primitive)


def bind_again(equation: Any, operands: Sequence[Any], parameters: dict[str, Any]) -> list[Any]:
    """Carries out an equation of a program, with parameters in place of its own."""
    primitive = equation.primitive
    bound: Any = primitive.get_bind_params(parameters)
    functions, settings = ((), bound) if isinstance(bound, dict) else bound
    with equation.ctx.manager:
        results = primitive.bind(*functions, *operands, **settings)
    return list(results) if primitive.multiple_results else [results]


def shape_like(x: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Shape and dtype of what a kernel writes, varying over mapped axes as the array `x` does."""
    kind: Any = jax.typeof(x)
    name = "manual_axis_type" if hasattr(kind, "manual_axis_type") else "vma"
    return jax.ShapeDtypeStruct(shape, dtype, **{name: getattr(kind, name)})


# ---- lowering


@functools.cache
def pallas() -> tuple[Any, Any]:
    """Pallas and its part for TPU. They take longer to load than all of ours, so it is done late.

    Both are documented, but under `jax.experimental`.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    return pl, pltpu


def require_devices(primitive: Primitive) -> None:
    """Declares that the lowering of a primitive asks for the devices, as that of JAX's own kernels.

    `custom_partitioning` needs them. Without this it works on one device alone.
    """
    from jax._src import dispatch

    dispatch.prim_requires_devices_during_lowering.add(primitive)


def devices_of_lowering(context: Any) -> tuple[Any, ...] | None:
    """The devices over which the arrays of a lowering may be split; None where that can't be told.

    A single one, whichever, inside a `shard_map` over all axes of a mesh.
    """
    axes = context.module_context.axis_context
    if hasattr(axes, "manual_axes"):
        return (None,) if set(axes.manual_axes) == set(axes.mesh.axis_names) else None
    if getattr(axes, "num_devices", None) == 1:
        return (None,)
    return getattr(axes, "device_assignment", None)


def mesh_axes(sharding: Any, mesh: Any, rank: int) -> list[Any] | None:
    """For each dimension the mesh axes it is split over; None where whole axes don't tell it.

    XLA can split a dimension over a part of a mesh axis, after a reshape for example.
    """
    if mesh.empty:
        return None
    try:
        from jax._src.sharding_impls import parse_flatten_op_sharding

        hlo_sharding = sharding._to_xla_hlo_sharding(rank)
        (spec,) = parse_flatten_op_sharding(hlo_sharding, mesh)
    except (ImportError, AttributeError, ValueError, AssertionError):
        return None
    return [*spec, *[None] * rank][:rank]


def types_tell_devices(avals: Iterable[Any]) -> bool:
    """Whether types say how arrays are split over devices: on meshes with explicit axes.

    There JAX splits a program itself, and XLA's partitioner is not asked; nor would JAX 0.12 run
    what has asked for it.
    """
    meshes = (aval.sharding.mesh for aval in avals)
    return any(mesh.size > 1 and AxisType.Explicit in mesh.axis_types for mesh in meshes)


def is_export(context: Any) -> bool:
    """Whether a program is lowered in order to be stored."""
    return bool(context.module_context.lowering_parameters.for_export)


def partitioning_spoils_cache() -> bool:
    """Whether a program that XLA's partitioner asks about would be compiled in each process anew.

    Its text holds an address. JAX leaves that out of the key of its compilation cache only if told.
    """
    keyed = not getattr(jax.config, "jax_remove_custom_partitioning_ptr_from_cache_key", False)
    return bool(getattr(jax.config, "jax_compilation_cache_dir", None)) and keyed


@functools.cache
def export_allows(calls: tuple[str, ...]) -> bool:
    """Declares custom calls stable to `jax.export`; False where it has no such list."""
    try:
        from jax._src.export import _export
    except ImportError:
        return False
    stable = getattr(_export, "_CUSTOM_CALL_TARGETS_GUARANTEED_STABLE", None)
    if not isinstance(stable, set):
        return False
    stable.update(calls)
    return True
