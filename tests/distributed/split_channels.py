"""Row norms whose channels eight devices share: the norms, and the ways to split them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from inox import functional
from tests import oracle

DEVICES, ROWS, CHANNELS = 8, 6, 48


class Norm(NamedTuple):
    """A norm over the last axis, and its parameters."""

    function: Callable[..., Any]
    parameters: tuple[str, ...] = ("scale", "bias")
    groups: int = 1
    centred: bool = True

    def reference(self, shape: tuple[int, ...]) -> oracle.Normalization:
        return oracle.Normalization(oracle.slices(shape, -1, self.groups), self.centred)


def grouped(groups: int, centred: bool = True) -> Norm:
    """Group norm with so many groups of all channels."""
    function = functools.partial(functional.group_norm, groups=groups, center=centred)
    return Norm(function, groups=groups, centred=centred)


# Groups of 24 channels span four devices, of 16 channels two and two thirds, of 4 two thirds of
# one; groups of 6 and 3 lie on one device.
NORMS = {
    "standardize": Norm(functional.standardize, ()),
    "layer": Norm(functional.layer_norm),
    "rms": Norm(functional.rms_norm, ("scale",), centred=False),
    "group 2": grouped(2),
    "group 3": grouped(3),
    "group 12": grouped(12),
    "group 8": grouped(8),
    "group 16": grouped(16),
    "group RMS 3": grouped(3, centred=False),
}


class Way(NamedTuple):
    """A transformation, the sizes and names of the mapped axes, and whether types are checked."""

    transformation: str
    sizes: tuple[int, ...] = (DEVICES,)
    checked: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        return ("first", "second")[: len(self.sizes)]

    def __str__(self) -> str:
        unchecked = "" if self.checked else " unchecked"
        return f"{self.transformation} {'x'.join(map(str, self.sizes))}{unchecked}"


WAYS = (
    Way("shard_map"),
    Way("shard_map", (4, 2)),
    Way("shard_map", checked=False),
    Way("vmap"),
    # With checks on, JAX itself refuses a gather along the axis of a vmap inside a shard_map.
    Way("both", (4, 2), checked=False),
)


def mesh_of(sizes: tuple[int, ...], names: tuple[str, ...]) -> Mesh:
    return jax.make_mesh(sizes, names, axis_types=(AxisType.Auto,) * len(names))


def split(norm: Norm, way: Way, masked: bool) -> Callable[..., jax.Array]:
    """The function (arrays, where) -> y of whole arrays, whose channels are split in this way."""

    def on_a_part(x, where, epsilon, *parameters):
        given = dict(zip(norm.parameters, parameters, strict=True))
        where = where if masked else None
        return norm.function(x, **given, epsilon=epsilon, where=where, axis_name=way.names)

    def whole(arrays, where):
        operands = arrays["x"], where, arrays["epsilon"], *(arrays[n] for n in norm.parameters)
        return run(*operands)

    last = P(None, way.names)
    if way.transformation == "shard_map":
        specs = (last, last, P(), *[P(way.names)] * len(norm.parameters))
        run = jax.shard_map(
            on_a_part,
            mesh=mesh_of(way.sizes, way.names),
            in_specs=specs,
            out_specs=last,
            check_vma=way.checked,
        )
        return whole

    # The channels of a part under vmap lie along an axis of their own, in front of the last.
    devices, mapped = (1, DEVICES) if way.transformation == "vmap" else way.sizes
    axes = (-2, -2, None, *[-2] * len(norm.parameters))
    inner = jax.vmap(on_a_part, axes, -2, axis_name=way.names[-1])
    if way.transformation == "both":
        last = P(None, way.names[0])
        specs = (last, last, P(), *[P(way.names[0])] * len(norm.parameters))
        mesh = mesh_of((devices,), way.names[:1])
        inner = jax.shard_map(
            inner, mesh=mesh, in_specs=specs, out_specs=last, check_vma=way.checked
        )

    def run(x, where, epsilon, *parameters):
        def apart(array):
            return array.reshape(*array.shape[:-1], devices * mapped, -1)

        y = inner(apart(x), apart(where), epsilon, *map(apart, parameters))
        return y.reshape(x.shape)

    return whole


def mask(counts: tuple[int, ...], seed: int = 4) -> np.ndarray:
    """Of the channels of each device the first so many in most rows, and none of the first row."""
    part = CHANNELS // DEVICES
    row = (np.arange(part) < np.array(counts)[:, None]).reshape(-1)
    where = np.broadcast_to(row, (ROWS, CHANNELS)) & (
        np.random.default_rng(seed).uniform(size=(ROWS, CHANNELS)) < 0.8
    )
    where[0] = False
    return where
