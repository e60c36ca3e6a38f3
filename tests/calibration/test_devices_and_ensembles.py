"""Pooling over devices and mapped axes, and ensembles: many networks as one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from inox.calibration import accumulate, commit, merge_states
from inox.folding import fold
from inox.nn import BatchNorm, BatchRenorm, Statistics, export_state
from tests.calibration.networks import Network, assert_exact_moments, rows
from tests.functional.programs import quick_jit

CHANNELS, K, N = 3, 4, 16


def microbatches() -> np.ndarray:
    return (rows(0, K * N) + np.float32(1e3)).reshape(K, N, CHANNELS)


def pool(layer, state, x):
    """The state after one commit of all microbatches."""
    pooling, pooled = accumulate(layer, state)
    for batch in x:
        _, pooled = pooling(batch, pooled)
    return commit(layer, state, pooled)


def test_sharded_microbatches_under_jit():
    """Rows split over eight devices by the compiler: the moments are those of all rows."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=0.0))
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    x = jax.device_put(microbatches(), NamedSharding(mesh, P(None, "rows")))
    committed = quick_jit(pool)(layer, state, x)
    assert_exact_moments(*committed[layer.stats], microbatches())


def test_microbatches_inside_shard_map_and_vmap():
    """With `axis_name`, each microbatch is pooled over devices first, then over time."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=0.0, axis_name="rows"))
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    mapped = jax.shard_map(
        pool, mesh=mesh, in_specs=(P(), P(), P(None, "rows")), out_specs=P(), check_vma=False
    )
    committed = quick_jit(mapped)(layer, state, microbatches())
    assert_exact_moments(*committed[layer.stats], microbatches())
    parts = microbatches().reshape(K, 8, N // 8, CHANNELS)
    several = quick_jit(jax.vmap(pool, (None, None, 1), axis_name="rows"))(layer, state, parts)
    for device in range(8):
        mean, var = (leaf[device] for leaf in several[layer.stats])
        assert_exact_moments(mean, var, microbatches())


@pytest.mark.parametrize("spec", [P(), P("channels")], ids=["replicated", "split"])
def test_states_and_kernels_on_an_explicit_mesh(spec):
    """Copies, pooled and folded arrays are split over the devices as those handed in are."""
    mesh = jax.make_mesh((4,), ("channels",), axis_types=(AxisType.Explicit,))
    layer, plain = export_state(BatchNorm(8))
    plain = {layer.stats: Statistics(jnp.arange(8.0), jnp.arange(1.0, 9))}
    kernel = jnp.asarray(rows(0, 5, 8))
    with jax.set_mesh(mesh):
        state = jax.device_put(plain, NamedSharding(mesh, spec))
        placed = jax.device_put(kernel, NamedSharding(mesh, P(None, *spec)))
        for wrap in (lambda f: f, jax.jit):
            merged = wrap(lambda state: merge_states([state, state], [1, 2]))(state)
            pooled = wrap(lambda state: accumulate(layer, state)[1])(state)
            for leaf in jax.tree.leaves([merged, pooled]):
                assert jax.typeof(leaf).sharding.spec == P(*spec or (None,))
            close(merged, plain)
            close(pooled[layer.stats], plain[layer.stats])
        layer.train(False)
        folded = fold(layer, state, placed)
        assert jax.typeof(folded[0]).sharding.spec == P(None, *spec or (None,))
    close(folded, fold(layer, plain, kernel))


def stack(trees):
    """Several trees of one structure as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def make_ensemble(size=4):
    """Networks whose weights differ, each with its state."""
    members = []
    for seed in range(size):
        model, state = export_state(Network(warmup=True))
        model = jax.tree.map(lambda leaf, seed=seed: leaf * (1 + jnp.float32(seed) / 4), model)
        members.append((model, state))
    return members


def close(found, expected):
    """Within the few units in the last place that a batched matrix product rounds otherwise."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def test_an_ensemble_trained_by_vmap_equals_a_loop():
    """Stacked networks and states under vmap: outputs, gradients and states are the loop's."""
    members = make_ensemble()
    data = jnp.stack([jnp.asarray(rows(seed, N)) for seed in range(len(members))])

    def loss(model, state, x):
        y, state = model(x, state)
        return jnp.sum(jnp.tanh(y)), state

    def steps(model, state, x):
        for _ in range(2):
            gradient, state = jax.grad(loss, has_aux=True)(model, state, x)
            model = jax.tree.map(lambda p, g: p - 0.1 * g, model, gradient)
        return model, state

    models, states = (stack(part) for part in zip(*members, strict=True))
    together = quick_jit(jax.vmap(steps))(models, states, data)
    one = quick_jit(steps)
    alone = [one(*member, x) for member, x in zip(members, data, strict=True)]
    close(together, stack(alone))
    # and in evaluation mode, one input for all members
    models, states = together
    models.train(False)
    outputs = jax.vmap(lambda model, state: model(data[0], state)[0])(models, states)
    for index, (model, state) in enumerate(alone):
        model.train(False)
        close(outputs[index], model(data[0], state)[0])


def test_an_ensemble_pools_by_vmap_as_in_a_loop():
    """`accumulate` and `commit` map over stacked networks and states."""
    members = make_ensemble(3)
    data = jnp.stack([jnp.asarray(microbatches()[:, :4] + seed) for seed in range(3)])
    models, states = (stack(part) for part in zip(*members, strict=True))
    together = quick_jit(jax.vmap(pool))(models, states, data)
    one = quick_jit(pool)
    close(together, stack([one(*member, x) for member, x in zip(members, data, strict=True)]))


def test_batch_renorm_pools_as_well():
    """A batch renorm corrects each microbatch by the running statistics, and moves them once."""
    layer, state = export_state(BatchRenorm(CHANNELS, momentum=0.0, steps=1))
    committed = pool(layer, state, microbatches())
    assert_exact_moments(*committed[layer.stats], microbatches())
    np.testing.assert_array_equal(committed[layer.batches], np.ones(CHANNELS))
    # Now r and d are at work, in each microbatch by the same running statistics.
    pooling, pooled = accumulate(layer, committed)
    y, pooled = pooling(microbatches()[0], pooled)
    layer.train(False)
    expected, _ = layer(microbatches()[0], committed)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    again = commit(layer, committed, pooled)
    np.testing.assert_array_equal(again[layer.batches], np.full(CHANNELS, 2))
