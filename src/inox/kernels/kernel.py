"""The contract between operations and backends, which belongs to neither.

An operation (:mod:`.operation`) says what is computed and, by :class:`Parallel`, how that is put
together from parts which several devices hold. A backend says how to run it on one device: for
each operation it knows, by its name, a :data:`Kernel`. Batching, derivatives and the split over
devices follow from the operation; a backend has no part in them.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
from jax import lax

Array = jax.Array
Axes = tuple[int, ...]
# Of each gradient that is asked for its name, and the axes over which it is summed.
Outputs = tuple[tuple[str, Axes], ...]
# Over which mesh axes each axis (counted from the end) of the arrays is split.
Split = Mapping[int, tuple[str, ...]]
# `(**operands) -> results`, for operands of the shapes and dtypes that a kernel was asked for.
Run = Callable[..., tuple[Array, ...]]
# `(operands by name, **static) -> Run`, from shapes and dtypes alone; None where there is nothing
# for them, and the reference is what runs.
Kernel = Callable[..., Run | None]


def unchanged(results: tuple[Array, ...], split: Split) -> tuple[Array, ...]:
    """The results of a device's parts as those parts of the results."""
    return results


def apart(split: Split) -> Run | None:
    """For operations that each device carries out on its parts, however they are split."""
    return None


class Parallel(NamedTuple):
    """How an operation on whole arrays is put together from parts that devices hold.

    Either each device carries it out on its parts, by a kernel if there is one, and what it finds
    is combined with what the others found; or, where a split cuts through what belongs together,
    they carry it out together, in other operations with an exchange between them.

    Args:
        combine: `(results, split) -> results`: what the devices have to exchange at the end.
        together: From the split to how the devices carry the operation out together on their
            parts, in results of these; None where each carries it out by itself.
    """

    combine: Callable[[tuple[Array, ...], Split], tuple[Array, ...]] = unchanged
    together: Callable[[Split], Run | None] = apart


class Backend(NamedTuple):
    """What a platform has besides the references.

    Args:
        name: What `implementation` calls its kernels; None where it has none.
        kernels: The kernels that are there in this process, by the name of their operation.
        calls: The names of the custom calls in them, which a stored program may hold.
        missing: Why those that `implementation` asks for are not there; empty where they are.
        masks: Whether it has kernels for arrays with a mask, of whole slices.
        programs: As `kernels`, but made of XLA's own operations, in a form that suits its compiler
            for the platform: they run whatever `implementation` says, unless a kernel does.
        guards: Elementwise operations written for that compiler, for any shape and any split.
        partitioned: Whether XLA's partitioner on this platform asks how a kernel may be split over
            devices, under `jit` with automatic axes. Where it doesn't, a kernel runs on what one
            device holds, and in a `shard_map`.
    """

    name: str | None
    kernels: Callable[[], Mapping[str, Kernel]]
    calls: Collection[str]
    missing: Callable[[], str]
    masks: bool = False
    partitioned: bool = True
    programs: Mapping[str, Kernel] = {}
    guards: Mapping[str, Run] = {}


def names_of(axes: Axes, split: Split) -> tuple[str, ...]:
    """The mesh axes over which `axes` are split."""
    return tuple(name for axis in axes for name in split.get(axis, ()))


def summed_over_devices(results: Any, axes: Axes, split: Split) -> Any:
    """Sums of parts (an array, or several by one collective) as those of the whole `axes`."""
    names = names_of(axes, split)
    return lax.psum(results, names) if names else results
