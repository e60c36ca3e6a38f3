"""Arrays that meet element by element on a mesh of explicit axes."""

import jax
from jax.sharding import NamedSharding, PartitionSpec

Array = jax.Array


def alike(*arrays: Array) -> tuple[Array, ...]:
    """Arrays of one shape with one sharding, on a mesh whose axes are part of types.

    Arithmetic joins a replicated array and a sharded one, but `jnp.where` refuses them. A
    dimension is split as the last of the arrays has it that splits it; under automatic axes, and
    without a mesh, types tell of no split, and the arrays are given back.
    """
    shardings = [jax.typeof(array).sharding for array in arrays]
    split = [sharding for sharding in shardings if any(sharding.spec)]
    if not split:
        return arrays
    last_first = zip(*(sharding.spec for sharding in reversed(split)), strict=True)
    spec = PartitionSpec(*(next(filter(None, entries), None) for entries in last_first))
    joint = NamedSharding(split[-1].mesh, spec)
    return tuple(
        array if sharding.spec == spec else jax.sharding.reshard(array, joint)
        for array, sharding in zip(arrays, shardings, strict=True)
    )
