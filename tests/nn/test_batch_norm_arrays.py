"""Momentum and epsilon as arrays, and ensembles of layers and states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, example, run, standardize64

from inox.nn import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, export_state


def test_array_momentum_and_epsilon_are_leaves():
    """An array is a leaf at its attribute's path; a float is configuration."""
    layer, _ = export_state(BatchNorm(4, jnp.float32(1e-3), jnp.float32(0.5)))
    paths = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(layer)}
    assert paths == {".epsilon", ".momentum"}
    assert jax.tree.leaves(export_state(BatchNorm(4, 1e-3, 0.5))[0]) == []


def test_momenta_can_be_mapped_over():
    """An array of momenta under vmap is one layer for each; the bounds 0 and 1 are exact."""
    momenta = jnp.array([0.0, 0.25, 0.9, 1.0])
    x = example()

    def updated(momentum):
        layer, state = export_state(BatchNorm(4, momentum=momentum))
        return layer(x, state)[1][".stats"]

    mean, var = jax.jit(jax.vmap(updated))(momenta)
    pooled = x.astype(np.float64)
    for index, momentum in enumerate([0.0, 0.25, 0.9, 1.0]):
        assert_close(mean[index], (1 - momentum) * pooled.mean((0, 1, 2)))
        assert_close(var[index], momentum + (1 - momentum) * pooled.var((0, 1, 2)))
    np.testing.assert_array_equal(mean[3], np.zeros(4))
    np.testing.assert_array_equal(var[3], np.ones(4))


def test_epsilons_can_be_mapped_over():
    """Vmap over the epsilon leaf gives the output of each epsilon."""
    epsilons = jnp.array([1e-5, 0.1, 10.0])
    layer, state = export_state(BatchNorm(4, epsilon=epsilons[0]))
    stacked = jax.tree.map(lambda _: epsilons, layer)
    x = example()
    found = jax.jit(jax.vmap(lambda layer: layer(x, state)[0]))(stacked)
    for index, epsilon in enumerate([1e-5, 0.1, 10.0]):
        assert_close(found[index], standardize64(x, (0, 1, 2), np.float32(epsilon)))


LAYERS = {
    "batch": (lambda epsilon: BatchNorm(4, epsilon), (0, 1, 2)),
    "layer": (lambda epsilon: LayerNorm((-2, -1), epsilon), (2, 3)),
    "group": (lambda epsilon: GroupNorm(1, epsilon), (3,)),
    "instance": (lambda epsilon: InstanceNorm(epsilon=epsilon), (1, 2)),
    "root_mean_square": (lambda epsilon: RMSNorm(epsilon=epsilon), (3,)),
}


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_ensemble_by_vmap_equals_a_loop(mode):
    """Stacked layers and states under vmap give the outputs, states and gradients of a loop."""
    members = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        numbers = jnp.asarray(random.standard_normal((2, 4)), jnp.float32)
        layer, state = export_state(
            BatchNorm(
                4,
                jnp.float32(0.1 * (seed + 1)),
                jnp.float32(0.2 * seed),
                scale=numbers[0],
                bias=numbers[1],
            )
        )
        _, state = run(layer, state, example(seed))
        layer.train(mode)
        members.append((layer, state))
    batches = np.stack([example(10 + seed) for seed in range(3)])
    weight = example(5)

    def gradients(layer, state, x):
        def loss(layer, x):
            y, updated = layer(x, state)
            return jnp.sum(y * weight), (y, updated)

        return jax.grad(loss, (0, 1), has_aux=True)(layer, x)

    layers, states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    together = jax.jit(jax.vmap(gradients))(layers, states, batches)
    alone = jax.jit(gradients)
    for index, (layer, state) in enumerate(members):
        expected = alone(layer, state, batches[index])
        assert jax.tree.structure(together) == jax.tree.structure(expected)
        for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(expected), strict=True):
            # The gradient of epsilon is a sum over channels that cancels to a tenth of its terms.
            assert_close(one[index], other, 64)
        if mode:
            assert_close(
                expected[1][0],
                standardize64(batches[index], (0, 1, 2), np.float32(0.1 * (index + 1)))
                * np.asarray(layer.scale.value)
                + np.asarray(layer.bias.value),
                16,
            )


def test_momentum_that_is_scheduled_does_not_trace_again():
    """A momentum held in an array can change from step to step within one trace."""
    traces = []

    @jax.jit
    def step(layer, x, state):
        traces.append(None)
        return layer(x, state)

    mean = np.zeros(4)
    layer, state = export_state(BatchNorm(4, momentum=jnp.float32(0.0)))
    for seed, momentum in enumerate([0.0, 0.5, 0.9]):
        layer.momentum = jnp.float32(momentum)
        _, state = step(layer, example(seed), state)
        mean = momentum * mean + (1 - momentum) * example(seed).astype(np.float64).mean((0, 1, 2))
        assert_close(state[layer.stats].mean, mean)
    assert len(traces) == 1
