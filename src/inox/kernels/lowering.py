"""How an operation is carried out, chosen when a program is lowered for a platform.

Until then a program knows operations alone, so one trace serves every platform, and one export
holds the kernels for CPU and the references for all others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from .jax_internals import (
    devices_of_lowering,
    export_allows,
    is_export,
    mlir,
    types_tell_devices,
)
from .kernel import Backend, Kernel, Parallel, Run
from .operation import Operation
from .partitioning import partitioned

Array = jax.Array
Names = tuple[str, ...]


def has_kernel(backend: Backend, operation: Operation, static: Mapping[str, Any]) -> bool:
    """Whether a backend has code of its own for an operation."""
    return static.get("implementation") != "xla" and operation.name in backend.kernels()


def may_use(backend: Backend, operation: Operation, static: Mapping[str, Any]) -> list[Kernel]:
    """What a backend has for an operation, for some shapes and dtypes; the best first."""
    kernels = {} if static.get("implementation") == "xla" else backend.kernels()
    return [by[operation.name] for by in (kernels, backend.programs) if operation.name in by]


def lowering(backend: Backend | None, *, splits: bool) -> Callable[..., Any]:
    """The lowering rule for a platform with this backend, or with none.

    `splits` tells whether the primitive is the one that may be split over devices.
    """

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
        run: Run | None = None
        if backend is not None and operation.name in backend.guards:
            run = guarded(backend, operation, names, settings)
        elif backend is not None and may_use(backend, operation, settings):
            run = _with_kernel(context, backend, operation, names, settings, splits)
        run = run or operation.run(names, settings)
        rule: Any = mlir.lower_fun(run, multiple_results=True)
        return rule(context, *arrays)

    return lower


def program_of(
    backend: Backend | None,
    operation: Operation,
    names: Names,
    static: dict[str, Any],
    parts: Sequence[Any],
) -> Run:
    """An operation in JAX's own primitives, as a backend has it, of positional arrays."""
    run: Run | None = None
    if backend is not None and operation.name in backend.guards:
        run = guarded(backend, operation, names, static)
    elif backend is not None and operation.name in backend.programs:
        run = first([backend.programs[operation.name]], names, static, parts)
    return run or operation.run(names, static)


def guarded(backend: Backend, operation: Operation, names: Names, static: dict[str, Any]) -> Run:
    """An elementwise operation as a backend's compiler needs it, of positional arrays."""
    run = backend.guards[operation.name]
    return lambda *arrays: run(**dict(zip(names, arrays, strict=True)), **static)


def first(
    found: Sequence[Kernel], names: Names, static: dict[str, Any], parts: Sequence[Any]
) -> Run | None:
    """The first of some kernels that has something for operands of these shapes and dtypes."""
    operands = dict(zip(names, parts, strict=True))
    for kernel in found:
        run = kernel(operands, **static)
        if run is not None:
            return lambda *arrays: run(**dict(zip(names, arrays, strict=True)))
    return None


def _with_kernel(
    context: Any,
    backend: Backend,
    operation: Operation,
    names: Names,
    static: dict[str, Any],
    splits: bool,
) -> Run | None:
    """The operation by a kernel, as a function of positional arrays; None where it can't be."""
    avals = context.avals_in
    if not all(isinstance(n, int) for aval in avals for n in aval.shape):
        return None  # symbols, in an export: neither a view of them nor where to cut is known
    devices = None if types_tell_devices(avals) else devices_of_lowering(context)
    if devices is None:
        return None
    alone = len(devices) == 1
    # How an array is split is decided by a function of this process, which can't be stored.
    if is_export(context) and not (alone and export_allows(tuple(backend.calls))):
        return None

    found = may_use(backend, operation, static)

    def kernel(parts: Sequence[Any]) -> Run | None:
        return first(found, names, static, parts)

    whole = kernel(avals)
    if whole is None or alone:
        return whole
    if operation.parallel is None or not splits:
        return None  # it might cut an array along an axis that is split

    def part(parts: Sequence[Any]) -> tuple[Run, Parallel]:
        operands = dict(zip(names, parts, strict=True))
        assert operation.parallel is not None
        parallel = operation.parallel(operands, **static)
        return kernel(parts) or operation.run(names, static), parallel

    shapes = [aval.shape for aval in avals]
    results = [aval.shape for aval in context.avals_out]
    return partitioned(whole, part, part(avals)[1].whole, shapes, results, devices)
