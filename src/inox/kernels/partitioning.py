"""A kernel on arrays that are split over devices, under `jit` with automatic axes.

XLA's partitioner asks how an operation it does not know may be split. All operands of ours have
the same rank, so the answer is read off their shapes: a dimension of full size is split alike in
all of them, a dimension of size 1 (of a parameter that is shared, of a result that is a sum) in
none. Axes that a device must hold whole are gathered first, by XLA. What the devices then have to
exchange is the operation's `combine`: nothing for rows, a sum for the gradient of a parameter.

An axis whose size the devices don't divide is not split: XLA would fill up the last part, and what
it fills with would enter the sums.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .jax_internals import custom_partitioning, mesh_axes
from .kernel import Axes, Parallel, Run, Split

Array = jax.Array


def _rule(shapes: Sequence[tuple[int, ...]], results: Sequence[tuple[int, ...]]) -> str:
    """The factors of Shardy's rule: d0, d1, … for dimensions, u0, u1, … for those of size 1."""
    full = np.broadcast_shapes(*shapes)
    unit = iter(range(len(full) * (len(shapes) + len(results))))

    def factors(shape: tuple[int, ...]) -> str:
        return " ".join(
            f"d{i}" if n == full[i] and n != 1 else f"u{next(unit)}" for i, n in enumerate(shape)
        )

    return ", ".join(map(factors, shapes)) + " -> " + ", ".join(map(factors, results))


def partitioned(
    run: Run,
    part: Callable[[Sequence[Any]], tuple[Run, Parallel]],
    whole: Axes,
    shapes: Sequence[tuple[int, ...]],
    results: Sequence[tuple[int, ...]],
    devices: tuple[Any, ...],
) -> Run:
    """A kernel as a function that XLA's partitioner can split.

    Args:
        run: The kernel for whole arrays.
        part: From what a device holds (shapes and dtypes) to what runs there and how the results
            are put together.
        whole: Axes, counted from the end, along which a device must hold all.
        shapes: The shapes of the operands. How the largest of them is split decides how all are.
        results: The shapes of the results.
        devices: Those of the program.
    """
    widest = max(range(len(shapes)), key=lambda i: math.prod(shapes[i]))
    full = np.broadcast_shapes(*shapes)
    rank = len(full)

    def split_of(mesh: Any, arguments: Any) -> tuple[Any, list[Any]]:
        """The mesh, and for each dimension the mesh axes it is split over."""
        if mesh.empty:
            mesh = Mesh(np.array(devices), ("devices",))
        entries = mesh_axes(arguments[widest].sharding, mesh, rank) or [None] * rank
        for i, entry in enumerate(entries):
            parts = math.prod(mesh.shape[name] for name in _names(entry))
            if full[i] % parts or i - rank in whole:
                entries[i] = None
        return mesh, entries

    def shardings(mesh: Any, entries: list[Any], shapes: Sequence[tuple[int, ...]]) -> Any:
        def spec(shape: tuple[int, ...]) -> PartitionSpec:
            return PartitionSpec(
                *(e if n != 1 else None for e, n in zip(entries, shape, strict=True))
            )

        return tuple(NamedSharding(mesh, spec(shape)) for shape in shapes)

    def infer(mesh: Any, arguments: Any, shape: Any) -> Any:
        mesh, entries = split_of(mesh, arguments)
        return shardings(mesh, entries, results)

    def partition(mesh: Any, arguments: Any, shape: Any) -> Any:
        mesh, entries = split_of(mesh, arguments)
        split: Split = {i - rank: _names(entry) for i, entry in enumerate(entries) if entry}

        def on_a_device(*arrays: Array) -> tuple[Array, ...]:
            on_part, parallel = part(arrays)
            return parallel.combine(on_part(*arrays), split)

        return (
            mesh,
            on_a_device,
            shardings(mesh, entries, results),
            shardings(mesh, entries, shapes),
        )

    function = custom_partitioning(run)
    function.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        decode_shardings=False,  # JAX's own decoding fails where an axis of the mesh is split
        sharding_rule=_rule(shapes, results),
        need_replication_factors=tuple(
            f"d{axis + rank}" for axis in sorted(whole) if full[axis] != 1
        ),
    )
    return function


def _names(entry: Any) -> tuple[str, ...]:
    if entry is None:
        return ()
    return tuple(entry) if isinstance(entry, tuple) else (entry,)
