"""How an operation is carried out, chosen when a program is lowered for a platform.

Until then a program knows operations alone, so one trace serves every platform, and one export
holds the kernels for CPU and the formulas for all others.
"""

from collections.abc import Sequence
from typing import Any

import jax

from .cpu.calls import Kernel
from .jax_internals import (
    Primitive,
    devices_of_lowering,
    export_allows_kernels,
    is_export,
    is_split_in_type,
    mlir,
)
from .partitioning import Function, partitioned

Array = jax.Array


def register_lowerings(primitive: Primitive) -> None:
    """Gives a primitive, which carries an operation as a parameter, its lowerings."""
    mlir.register_lowering(primitive, _lower)
    mlir.register_lowering(primitive, _lower_on_cpu, platform="cpu")


def _lowered(context: Any, arrays: Any, function: Function) -> Any:
    lowering: Any = mlir.lower_fun(function, multiple_results=True)
    return lowering(context, *arrays)


def _lower(
    context: Any,
    *arrays: Any,
    operation: Any,
    names: tuple[str, ...],
    static: tuple[tuple[str, Any], ...],
) -> Any:
    if dict(static).get("implementation") == "cpu":
        raise ValueError(
            "implementation='cpu' asks for the CPU kernels, but the computation is lowered for "
            f"{' and '.join(context.module_context.platforms)}. Use implementation=None: it picks "
            "the kernels on CPU and XLA elsewhere."
        )
    return _lowered(context, arrays, operation.run(names, static))


def _lower_on_cpu(
    context: Any,
    *arrays: Any,
    operation: Any,
    names: tuple[str, ...],
    static: tuple[tuple[str, Any], ...],
) -> Any:
    avals = context.avals_in
    if not all(isinstance(n, int) for aval in avals for n in aval.shape):
        # Symbols, in an export: neither a kernel's view of them nor where to cut them is known.
        return _lowered(context, arrays, operation.run(names, static))
    devices = None if is_split_in_type(avals) else devices_of_lowering(context)
    # Where an array may be split over devices, and no kernel tells how, the reference stands:
    # another way to compute might cut an array along an axis that is split.
    alone = devices is not None and len(devices) == 1
    otherwise: Function = operation.run(names, static, "cpu" if alone else None)

    def local(parts: Sequence[Any]) -> tuple[Function, Kernel] | None:
        """The kernel for given shapes and dtypes, as a function of positional arrays."""
        kernel = kernel_of(operation, dict(zip(names, parts, strict=True)), dict(static))
        return kernel and (lambda *a: kernel.run(**dict(zip(names, a, strict=True))), kernel)

    found = local(avals)
    if found is None or devices is None:
        return _lowered(context, arrays, otherwise)
    run, kernel = found
    # How an array is split is decided by a function of this process, which can't be stored.
    if is_export(context) and not (alone and export_allows_kernels()):
        return _lowered(context, arrays, otherwise)
    if alone:
        return _lowered(context, arrays, run)
    shapes = [aval.shape for aval in avals]
    results = [aval.shape for aval in context.avals_out]

    def on_a_device(parts: Sequence[Any]) -> tuple[Function, Kernel]:
        return local(parts) or (operation.run(names, static), kernel)

    split = partitioned(kernel, on_a_device, names, shapes, results, devices)
    return _lowered(context, arrays, split)


def kernel_of(operation: Any, operands: Any, static: dict[str, Any]) -> Kernel | None:
    """The kernel of an operation for operands of given shapes and dtypes, where there is one."""
    return operation.kernel(operands, **static) if operation.may_use_kernels(static) else None
