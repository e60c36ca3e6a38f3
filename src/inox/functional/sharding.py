"""Arrays that meet element by element on a mesh of explicit axes."""

import jax
from jax.sharding import PartitionSpec

Array = jax.Array


def alike(*arrays: Array) -> tuple[Array, ...]:
    """Arrays of one shape with one sharding, on a mesh whose axes are part of types.

    Arithmetic joins a replicated array and a sharded one, but `jnp.where` refuses them. A
    dimension is split as the last of the arrays has it that splits it; under automatic axes, and
    without a mesh, types tell of no split, and the arrays are given back.
    """
    specs = [jax.typeof(array).sharding.spec for array in arrays]
    joint = [
        next((entry for entry in dimension if entry), None)
        for dimension in zip(*reversed(specs), strict=True)
    ]
    if not any(joint):
        return arrays
    spec = PartitionSpec(*joint)
    return tuple(
        array if own == spec else jax.sharding.reshard(array, spec)
        for array, own in zip(arrays, specs, strict=True)
    )
