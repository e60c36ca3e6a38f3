"""Batch norm over groups of devices, `axis_index_groups`: each group is a batch of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from layer_cases import assert_close, example

from inox import functional
from inox.nn import BatchNorm, export_state

PARTS, ROWS = 4, 3
X = example(0, (PARTS, ROWS, 5, 4)) + 4 * np.arange(PARTS, dtype=np.float32)[:, None, None, None]
DY = example(1, X.shape)
WEIGHTS = np.random.default_rng(2).uniform(0.2, 2, (PARTS, ROWS, 1, 1)).astype(np.float32)


def results(groups, way):
    """y, state and gradient of the parts; each part has a state of its own."""
    layer, state = export_state(
        BatchNorm(4, momentum=0.5, axis_name="parts", axis_index_groups=groups)
    )

    def on_part(x, weights):
        return layer(x, state, weights=weights)

    if way == "shard_map":
        mesh = jax.make_mesh((PARTS,), ("parts",), axis_types=(AxisType.Auto,))

        def on_device(x, weights):
            y, after = on_part(x[0], weights[0])
            return y[None], jax.tree.map(lambda leaf: leaf[None], after)

        split = PartitionSpec("parts")
        mapped = jax.shard_map(on_device, mesh=mesh, in_specs=split, out_specs=split)
    else:
        mapped = jax.vmap(on_part, axis_name="parts")

    @jax.jit
    def run(x, weights):
        y, pullback, after = jax.vjp(lambda x: mapped(x, weights), x, has_aux=True)
        return y, after, pullback(DY)[0]

    y, after, dx = run(X, WEIGHTS)
    return y, after[layer.stats], dx


@pytest.mark.parametrize(
    ("way", "groups"),
    [("shard_map", [[0, 3], [1, 2]]), ("shard_map", ((0,), (1, 2, 3))), ("vmap", [[2, 0], [3, 1]])],
)
def test_each_group_is_a_batch_of_its_own(way, groups):
    """Of one size or not: y, running statistics and gradient of its parts are one batch's."""
    y, stats, dx = results(groups, way)
    for group in map(list, groups):
        part, weights = (array[group].reshape(-1, *array.shape[2:]) for array in (X, WEIGHTS))

        def norm(x, weights=weights):
            return functional.batch_norm(x, weights=weights)

        expected, pullback, moments = jax.vjp(norm, jnp.asarray(part), has_aux=True)
        shape = (len(group), ROWS, 5, 4)
        assert_close(y[jnp.array(group)], np.asarray(expected).reshape(shape))
        of_group = np.asarray(pullback(jnp.asarray(DY[group].reshape(part.shape)))[0])
        assert_close(dx[jnp.array(group)], of_group.reshape(shape), 64)
        for position in group:
            assert_close(stats.mean[position], 0.5 * np.asarray(moments.mean))
            assert_close(stats.var[position], 0.5 + 0.5 * np.asarray(moments.var))
