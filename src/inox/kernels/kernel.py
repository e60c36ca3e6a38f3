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
# Over which mesh axes each axis (counted from the end) of the arrays is split.
Split = Mapping[int, tuple[str, ...]]
# `(**operands) -> results`, for operands of the shapes and dtypes that a kernel was asked for.
Run = Callable[..., tuple[Array, ...]]
# `(operands by name, **static) -> Run`, from shapes and dtypes alone; None where there is nothing
# for them, and the reference is what runs.
Kernel = Callable[..., Run | None]


class Parallel(NamedTuple):
    """How an operation on whole arrays is made of the same one on the parts that devices hold.

    Args:
        whole: Axes, counted from the end, along which a device must hold all of the arrays.
        combine: `(results, split) -> results`: what the devices have to exchange.
    """

    whole: Axes
    combine: Callable[[tuple[Array, ...], Split], tuple[Array, ...]]


class Backend(NamedTuple):
    """What a platform has besides the references.

    Args:
        name: What `implementation` calls it.
        kernels: The kernels that are there in this process, by the name of their operation.
        calls: The names of the custom calls in them, which a stored program may hold.
        missing: Why those that `implementation` asks for are not there; empty where they are.
        masks: Whether it has kernels for arrays with a mask.
        partitioned: Whether XLA's partitioner on this platform asks how a kernel may be split over
            devices, under `jit` with automatic axes. Where it doesn't, a kernel runs on what one
            device holds, and in a `shard_map`.
    """

    name: str
    kernels: Callable[[], Mapping[str, Kernel]]
    calls: Collection[str]
    missing: Callable[[], str]
    masks: bool = False
    partitioned: bool = True


def names_of(axes: Axes, split: Split) -> tuple[str, ...]:
    """The mesh axes over which `axes` are split."""
    return tuple(name for axis in axes for name in split.get(axis, ()))


def summed_over_devices(results: Any, axes: Axes, split: Split) -> Any:
    """Sums of parts (an array, or several by one collective) as those of the whole `axes`."""
    names = names_of(axes, split)
    return lax.psum(results, names) if names else results
