"""Rows that are split over devices have the bits that they have on one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.invariance.batches import bits, draw, of_examples, run
from tests.invariance.grid import EACH_IMPLEMENTATION, EACH_OPERATION, require

DEVICES = 8


def repeated(array: np.ndarray, examples: int) -> np.ndarray:
    """As many examples as asked for, those of a batch over and over."""
    return np.resize(array, (examples, *array.shape[1:]))


@EACH_IMPLEMENTATION
@EACH_OPERATION
def test_rows_over_eight_devices(operation, implementation):
    """Split by `jit` or by `shard_map`, in whole parts or not, y and dx keep every bit.

    Twenty-four examples are three a device; twenty are not divided, and stay whole.
    """
    require(implementation)
    assert len(jax.devices()) == DEVICES
    example = operation.examples[0]
    batch = draw(operation, example, jnp.dtype("float32"))
    both = of_examples(run(operation, example, implementation))
    compiled = jax.jit(both)
    mesh = Mesh(np.array(jax.devices()), ("rows",))
    rows, everywhere = PartitionSpec("rows"), PartitionSpec()
    mapped = jax.jit(
        jax.shard_map(both, mesh=mesh, in_specs=(rows, rows, everywhere), out_specs=rows)
    )
    for examples in (24, 20):
        x, dy = (repeated(array, examples) for array in (batch.x, batch.dy))
        alone = compiled(x, dy, batch.shared)
        specs = rows if examples % DEVICES == 0 else everywhere
        put = jax.device_put((x, dy), NamedSharding(mesh, specs))
        shared = jax.device_put(batch.shared, NamedSharding(mesh, everywhere))
        found = [compiled(*put, shared)]
        if examples % DEVICES == 0:
            found.append(mapped(x, dy, batch.shared))
        for results in found:
            for one, other in zip(results, alone, strict=True):
                np.testing.assert_array_equal(bits(one), bits(other))
