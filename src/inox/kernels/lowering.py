"""How an operation is carried out, chosen when a program is lowered for a platform.

Until then a program knows operations alone, so one trace serves every platform, and one export
holds the kernels for CPU and the references for all others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from .explicit_sharding import mapped_by_types
from .jax_internals import (
    devices_of_lowering,
    export_allows,
    is_export,
    mlir,
    partitioning_spoils_cache,
    types_tell_devices,
)
from .kernel import Backend, Run, Split
from .operation import Operation
from .partitioning import partitioned

Array = jax.Array
Names = tuple[str, ...]


def may_use(backend: Backend, operation: Operation, static: Mapping[str, Any]) -> bool:
    """Whether a backend has a kernel of an operation, for some shapes and dtypes."""
    return static.get("implementation") != "xla" and operation.name in backend.kernels()


def lowering(backend: Backend | None, *, partitioner: bool) -> Callable[..., Any]:
    """The lowering rule for a platform.

    Args:
        backend: Its backend, or None.
        partitioner: Whether its compiler asks how an operation may be split.
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
        run = _on_devices(context, backend, partitioner, operation, names, settings)
        rule: Any = mlir.lower_fun(run, multiple_results=True)
        return rule(context, *arrays)

    return lower


def _on_devices(
    context: Any,
    backend: Backend | None,
    partitioner: bool,
    operation: Operation,
    names: Names,
    static: dict[str, Any],
) -> Run:
    """The operation as a function of positional arrays: by kernels and by parts where it can be."""

    def reference(*arrays: Array) -> tuple[Array, ...]:
        return operation.run(names, static)(*arrays)

    avals = context.avals_in
    if not all(isinstance(n, int) for aval in avals for n in aval.shape):
        return reference  # symbols, in an export: neither a view nor where to cut is known
    usable = backend is not None and may_use(backend, operation, static)

    def kernel(parts: Sequence[Any]) -> Run | None:
        if not usable:
            return None
        assert backend is not None
        operands = dict(zip(names, parts, strict=True))
        found = backend.kernels()[operation.name](operands, **static)
        return found and (lambda *arrays: found(**dict(zip(names, arrays, strict=True))))

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
    if not usable and (not operation.always_by_parts or partitioning_spoils_cache()):
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
    if stored or operation.parallel is None or not partitioner:
        return reference
    shapes = [aval.shape for aval in avals]
    results = [aval.shape for aval in context.avals_out]
    return partitioned(kernel(avals) or reference, on_parts, shapes, results, devices)
