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
from .kernel import Backend, Parallel, Run
from .operation import Operation
from .partitioning import partitioned

Array = jax.Array
Names = tuple[str, ...]


def may_use(backend: Backend, operation: Operation, static: Mapping[str, Any]) -> bool:
    """Whether a backend has a kernel of an operation, for some shapes and dtypes."""
    return static.get("implementation") != "xla" and operation.name in backend.kernels()


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
        run: Run | None = None
        if backend is not None and may_use(backend, operation, settings):
            run = _with_kernel(context, backend, operation, names, settings)
        run = run or operation.run(names, settings)
        rule: Any = mlir.lower_fun(run, multiple_results=True)
        return rule(context, *arrays)

    return lower


def _with_kernel(
    context: Any, backend: Backend, operation: Operation, names: Names, static: dict[str, Any]
) -> Run | None:
    """The operation by a kernel, as a function of positional arrays; None where it can't be."""
    avals = context.avals_in
    if not all(isinstance(n, int) for aval in avals for n in aval.shape):
        return None  # symbols, in an export: neither a view of them nor where to cut is known
    devices = None if types_tell_devices(avals) else devices_of_lowering(context)
    if devices is None:
        return None
    alone = len(devices) == 1
    if not alone and not backend.partitioned:
        return None
    # How an array is split is decided by a function of this process, which can't be stored.
    if is_export(context) and not (alone and export_allows(tuple(backend.calls))):
        return None

    def kernel(parts: Sequence[Any]) -> Run | None:
        operands = dict(zip(names, parts, strict=True))
        found = backend.kernels()[operation.name](operands, **static)
        return found and (lambda *arrays: found(**dict(zip(names, arrays, strict=True))))

    whole = kernel(avals)
    if whole is None or alone:
        return whole
    if operation.parallel is None:
        return None  # it might cut an array along an axis that is split

    def part(parts: Sequence[Any]) -> tuple[Run, Parallel]:
        operands = dict(zip(names, parts, strict=True))
        assert operation.parallel is not None
        parallel = operation.parallel(operands, **static)
        return kernel(parts) or operation.run(names, static), parallel

    shapes = [aval.shape for aval in avals]
    results = [aval.shape for aval in context.avals_out]
    return partitioned(whole, part, part(avals)[1].whole, shapes, results, devices)
