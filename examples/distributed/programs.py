"""A layer's forward and backward pass, compiled for a batch whose rows are split over devices."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from traffic import Layer

from inox import functional

GROUPS = 8
IMAGE = (4, 4)
AXIS = "devices"


def norm(layer: Layer, x: Array, scale: Array, bias: Array) -> Array:
    """The output of the layer."""
    match layer.norm:
        case "rms":
            return functional.rms_norm(x, scale)
        case "layer":
            return functional.layer_norm(x, scale, bias)
        case "group":
            return functional.group_norm(x, GROUPS, scale, bias, axis=(-3, -2, -1))
        case "instance":
            return functional.layer_norm(x, scale, bias, axis=(-3, -2))
    implementation = "xla" if layer.way == "xla" else None
    axis_name = AXIS if layer.way == "shard_map" else None
    return functional.batch_norm(
        x, scale, bias, axis_name=axis_name, implementation=implementation
    )[0]


def program(layer: Layer, devices: int, rows: int, channels: int) -> str:
    """The text of the compiled program.

    Args:
        layer: Which norm, split in which way.
        devices: How many share the rows.
        rows: The rows of each device; images for group and instance norm.
        channels: The channels.
    """
    mesh = jax.make_mesh((devices,), (AXIS,), axis_types=(AxisType.Auto,))
    split, everywhere = PartitionSpec(AXIS), PartitionSpec()
    image = IMAGE if layer.norm in ("group", "instance") else ()

    def apply(x: Array, scale: Array, bias: Array) -> Array:
        return norm(layer, x, scale, bias)

    if layer.way == "shard_map":
        specs = split, everywhere, everywhere
        apply = jax.shard_map(apply, mesh=mesh, in_specs=specs, out_specs=split)

    def both(x: Array, dy: Array, scale: Array, bias: Array) -> tuple:
        y, pullback = jax.vjp(apply, x, scale, bias)
        dx, dscale, dbias = pullback(dy)
        return y, dx, dscale, None if layer.norm == "rms" else dbias

    def argument(shape: tuple[int, ...], spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)

    x = argument((devices * rows, *image, channels), split)
    parameter = argument((channels,), everywhere)
    return jax.jit(both).lower(x, x, parameter, parameter).compile().as_text()
