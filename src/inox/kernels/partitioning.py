"""An operation on arrays that are split over devices, under `jit` with automatic axes.

XLA's partitioner asks how an operation it does not know may be split. All operands of ours have
the same rank, so the answer is read off their shapes: a dimension of full size is split alike in
all of them, a dimension of size 1 (of a parameter that is shared, of a result that is a sum) in
none. What each device then does with its parts, and what it exchanges with the others, is the
operation's :class:`.kernel.Parallel`: nothing for whole rows, a sum for the gradient of a
parameter, a few numbers a row where the rows are split.

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
from .kernel import Run, Split

Array = jax.Array
# `(parts of the operands, how the largest is split) -> parts of the results`, on one device.
OnParts = Callable[[Sequence[Array], Split], tuple[Array, ...]]


def _rule(shapes: Sequence[tuple[int, ...]], results: Sequence[tuple[int, ...]]) -> str:
    """The factors of Shardy's rule: d0, d1, … for dimensions, u0, u1, … for those of size 1."""
    full = np.broadcast_shapes(*shapes)
    unit = iter(range(len(full) * (len(shapes) + len(results))))

    def factors(shape: tuple[int, ...]) -> str:
        return " ".join(
            f"d{i}" if n == full[i] and n != 1 else f"u{next(unit)}" for i, n in enumerate(shape)
        )

    return ", ".join(map(factors, shapes)) + " -> " + ", ".join(map(factors, results))


def _refined(mesh: Any, devices: tuple[Any, ...]) -> Mesh:
    """A mesh whose axes are those of `mesh` in prime factors.

    XLA splits a dimension over a part of an axis as well: 64 channels on 8 devices, in 4 groups of
    16, are 4 times 2 parts. A part of an axis of a size that is no prime may be one of several.
    """
    shape: list[int] = []
    names: list[str] = []
    given = {"devices": len(devices)} if mesh.empty else dict(mesh.shape)
    for name, size in given.items():
        for i, factor in enumerate(_prime_factors(size)):
            shape.append(factor)
            names.append(f"{name}/{i}")
    held = np.array(devices) if mesh.empty else mesh.devices
    return Mesh(held.reshape(shape), tuple(names))


def _prime_factors(size: int) -> list[int]:
    factors: list[int] = []
    divisor = 2
    while size > 1:
        while size % divisor == 0:
            factors.append(divisor)
            size //= divisor
        divisor += 1
    return factors


def partitioned(
    run: Run,
    on_parts: OnParts,
    shapes: Sequence[tuple[int, ...]],
    results: Sequence[tuple[int, ...]],
    devices: tuple[Any, ...],
) -> Run:
    """An operation as a function that XLA's partitioner can split.

    Args:
        run: The operation on whole arrays.
        on_parts: What each device does with its parts.
        shapes: The shapes of the operands. How the largest of them is split decides how all are.
        results: The shapes of the results.
        devices: Those of the program.
    """
    widest = max(range(len(shapes)), key=lambda i: math.prod(shapes[i]))
    full = np.broadcast_shapes(*shapes)
    rank = len(full)

    def split_of(mesh: Any, arguments: Any) -> tuple[Any, list[Any]]:
        """The mesh, and for each dimension the mesh axes it is split over."""
        mesh = _refined(mesh, devices)
        entries = mesh_axes(arguments[widest].sharding, mesh, rank) or [None] * rank
        for i, entry in enumerate(entries):
            if full[i] % math.prod(mesh.shape[name] for name in _names(entry)):
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
        return (
            mesh,
            lambda *arrays: on_parts(arrays, split),
            shardings(mesh, entries, results),
            shardings(mesh, entries, shapes),
        )

    # Compiled as a part of its own: there the constants of a formula stay, which are refused else.
    function = custom_partitioning(jax.jit(run))
    function.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        decode_shardings=False,  # JAX's own decoding fails where an axis of the mesh is split
        sharding_rule=_rule(shapes, results),
    )
    return function


def _names(entry: Any) -> tuple[str, ...]:
    if entry is None:
        return ()
    return tuple(entry) if isinstance(entry, tuple) else (entry,)
