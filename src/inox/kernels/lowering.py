"""How an operation is carried out, chosen when a program is lowered for a platform.

Until then a program knows operations alone, so one trace serves every platform, and one export
holds the kernels for CPU and the references for all others.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from .backends import BACKENDS
from .explicit_sharding import mapped_by_types
from .jax_internals import (
    devices_of_lowering,
    export_allows,
    is_export,
    mlir,
    partitioning_spoils_cache,
    types_tell_devices,
)
from .kernel import Backend, Kernel, Run, Split
from .operation import Operation
from .partitioning import partitioned

Array = jax.Array
Names = tuple[str, ...]


def splittable(operation: Operation, static: Mapping[str, Any]) -> bool:
    """Whether an operation may be carried out on parts, by XLA's partitioner asking for them."""
    return operation.parallel is not None and (
        operation.always_by_parts
        or any(has_kernel(backend, operation, static) for backend in BACKENDS.values())
    )


def has_kernel(backend: Backend, operation: Operation, static: Mapping[str, Any]) -> bool:
    """Whether a backend has code of its own for an operation, for some shapes and dtypes."""
    return static.get("implementation") != "xla" and operation.name in backend.kernels()


def may_use(
    backend: Backend | None, operation: Operation, static: Mapping[str, Any]
) -> list[Kernel]:
    """What a backend has for an operation, for some shapes and dtypes; the best first."""
    if backend is None:
        return []
    kernels = backend.kernels() if has_kernel(backend, operation, static) else {}
    return [by[operation.name] for by in (kernels, backend.programs) if operation.name in by]


def first(
    found: Sequence[Kernel], names: Names, static: dict[str, Any], parts: Sequence[Any]
) -> Run | None:
    """The first of some kernels that has something for operands of these shapes and dtypes."""
    operands = dict(zip(names, parts, strict=True))
    for kernel in found:
        run = kernel(operands, **static)
        if run is not None:
            return functools.partial(_by_name, run, names)
    return None


def _by_name(run: Run, names: Names, *arrays: Array) -> tuple[Array, ...]:
    return run(**dict(zip(names, arrays, strict=True)))


def guarded(backend: Backend, operation: Operation, names: Names, static: dict[str, Any]) -> Run:
    """An elementwise operation as a backend's compiler needs it, of positional arrays."""
    return functools.partial(
        _by_name, functools.partial(backend.guards[operation.name], **static), names
    )


def program_of(
    backend: Backend | None,
    operation: Operation,
    names: Names,
    static: dict[str, Any],
    parts: Sequence[Any],
) -> Run:
    """An operation in JAX's own primitives, as a backend has it, of positional arrays."""
    if backend is not None and operation.name in backend.guards:
        return guarded(backend, operation, names, static)
    programs = backend.programs if backend is not None else {}
    found = [programs[operation.name]] if operation.name in programs else []
    return first(found, names, static, parts) or operation.run(names, static)


def lowering(backend: Backend | None) -> Callable[..., Any]:
    """The lowering rule for a platform with this backend, or with none."""

    def lower(
        context: Any, *arrays: Any, operation: Operation, names: Names, static: tuple[Any, ...]
    ) -> Any:
        settings = dict(static)
        wanted = settings.get("implementation")
        if wanted not in (None, "xla") and (backend is None or backend.name != wanted):
            raise ValueError(
                f"implementation={wanted!r} asks for the kernels of one platform, but the "
                f"computation is lowered for {' and '.join(context.module_context.platforms)}. "
                "Use implementation=None: it picks the kernels where there are any and XLA "
                "elsewhere."
            )
        run = _on_devices(context, backend, operation, names, settings)
        rule: Any = mlir.lower_fun(run, multiple_results=True)
        return rule(context, *arrays)

    return lower


def _on_devices(
    context: Any,
    backend: Backend | None,
    operation: Operation,
    names: Names,
    static: dict[str, Any],
) -> Run:
    """The operation as a function of positional arrays: by kernels and by parts where it can be."""

    def reference(*arrays: Array) -> tuple[Array, ...]:
        return operation.run(names, static)(*arrays)

    if backend is not None and operation.name in backend.guards:
        return guarded(backend, operation, names, static)
    avals = context.avals_in
    if not all(isinstance(n, int) for aval in avals for n in aval.shape):
        return reference  # symbols, in an export: neither a view nor where to cut is known
    found = may_use(backend, operation, static)

    def kernel(parts: Sequence[Any]) -> Run | None:
        return first(found, names, static, parts)

    def on_parts(arrays: Sequence[Any], split: Split) -> tuple[Array, ...]:
        operands = dict(zip(names, arrays, strict=True))
        assert operation.parallel is not None
        parallel = operation.parallel(operands, **static)
        together = parallel.together(split)
        if together is not None:
            return tuple(together(**operands))
        return parallel.combine((kernel(arrays) or reference)(*arrays), split)

    if types_tell_devices(avals):
        if operation.parallel is None:
            return reference
        return mapped_by_types(on_parts, avals, context.avals_out) or reference
    if not found and (not operation.always_by_parts or partitioning_spoils_cache()):
        return reference
    devices = devices_of_lowering(context)
    if devices is None:
        return reference
    stored = is_export(context)
    if len(devices) == 1:
        calls = tuple(backend.calls) if backend is not None else ()
        return reference if stored and not export_allows(calls) else kernel(avals) or reference
    # How an array is split is decided by a function of this process, which can't be stored. And
    # without being told, a kernel might cut it along an axis that is split.
    asked = backend is not None and backend.partitioned
    if stored or not asked or not splittable(operation, static):
        return reference
    shapes = [aval.shape for aval in avals]
    results = [aval.shape for aval in context.avals_out]
    return partitioned(kernel(avals) or reference, on_parts, shapes, results, devices)
