"""The ways to split a batch of 64 rows over eight devices, each as one function of whole arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from inox import functional

DEVICES, ROWS, CHANNELS = 8, 8, 4
EIGHT = (8,), ("rows",)
FOUR_BY_TWO = (4, 2), ("hosts", "local")


class Way(NamedTuple):
    """A transformation and, but for `vmap`, a mesh."""

    transformation: str
    mesh: tuple[tuple[int, ...], tuple[str, ...]] = EIGHT

    def __str__(self) -> str:
        return f"{self.transformation} {'x'.join(map(str, self.mesh[0]))}"


WAYS = (
    Way("jit"),
    Way("jit", FOUR_BY_TWO),
    Way("shard_map"),
    Way("shard_map", FOUR_BY_TWO),
    Way("vmap"),
)


def mesh_of(way: Way) -> Mesh:
    shape, names = way.mesh
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))


def place(way: Way, array: Any) -> Any:
    """The rows of an array split over the devices; a `vmap` runs on one."""
    if way.transformation == "vmap":
        return array
    return jax.device_put(array, NamedSharding(mesh_of(way), P(way.mesh[1])))


def split(way: Way, masked: bool, implementation: str | None = None) -> Callable:
    """The function (x, where, parameters) -> (y, moments) of whole arrays, split in this way."""
    names = way.mesh[1]

    def norm(x, where, parameters, axis_name=None):
        return functional.batch_norm(
            x,
            parameters["scale"],
            parameters["bias"],
            epsilon=parameters["epsilon"],
            where=where if masked else None,
            axis_name=axis_name,
            implementation=implementation,
        )

    def mapped(x, where, parameters):
        return norm(x, where, parameters, names)

    def over_parts(x, where, parameters):
        parts = (a.reshape(DEVICES, -1, a.shape[-1]) for a in (x, where))
        y, moments = jax.vmap(mapped, (0, 0, None), axis_name=names[0])(*parts, parameters)
        return y.reshape(x.shape), jax.tree.map(lambda value: value[0], moments)

    if way.transformation == "jit":
        return norm
    if way.transformation == "vmap":
        return over_parts
    return jax.shard_map(
        mapped,
        mesh=mesh_of(way),
        in_specs=(P(names), P(names), P()),
        out_specs=(P(names), P()),
    )


def mask_of(counts: tuple[int, ...]) -> np.ndarray:
    """Of the rows of each device, the first so many."""
    return (np.arange(ROWS) < np.array(counts)[:, None]).reshape(-1, 1)
