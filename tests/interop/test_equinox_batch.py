"""BatchNorm for Equinox: numbers in training and evaluation, and the running statistics."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import equinox as ours
from tests.interop.equinox_batches import (
    CLOSE,
    MODES,
    batched,
    batches,
    build,
    copied,
    moments64,
    normalized64,
    statistics,
    with_parameters,
)

SHAPES = {"vectors": (16, 3), "sequences": (8, 3, 5), "images": (4, 3, 4, 2)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_batch_mode_is_the_formula(shape, rng):
    """Training normalizes by the batch; what is stored is its moving average from (0, 1) on.

    Evaluation takes away what is left of that start: it is by the weighted mean of the batches'
    own statistics, whatever their number.
    """
    layer, state = build(ours, "batch", momentum=0.9)
    layer = with_parameters(layer, rng)
    mean, var, weights, own = np.zeros(3), np.ones(3), [], []
    for step, x in enumerate(batches(rng, shape)):
        y, state = batched(layer, x, state)
        moments = moments64(x)
        np.testing.assert_allclose(y, normalized64(x, *moments, layer), **CLOSE)
        mean, var = 0.9 * mean + 0.1 * moments[0], 0.9 * var + 0.1 * moments[1]
        weights, own = [*(0.9 * w for w in weights), 0.1], [*own, moments]
        stored_mean, stored_var, count = statistics(layer, state)
        np.testing.assert_allclose(stored_mean, mean, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(stored_var, var, rtol=1e-6)
        assert count == step + 1
        expected = (np.average([m[i] for m in own], 0, weights) for i in (0, 1))
        evaluated, kept = batched(eqx.nn.inference_mode(layer), x, copied(state))
        # The stored variance is near 1 and rounded; the average is what is left of it, over 0.1.
        np.testing.assert_allclose(
            evaluated, normalized64(x, *expected, layer), rtol=1e-5, atol=1e-5
        )
        assert eqx.tree_equal(kept, state)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ema_mode_is_the_formula(shape, rng):
    """Training normalizes by the running statistics that the batch has moved, the first by its own.

    Evaluation is by the same ones.
    """
    layer, state = build(ours, "ema", momentum=0.9)
    layer = with_parameters(layer, rng)
    mean = var = None
    for x in batches(rng, shape):
        moments = moments64(x)
        mean = moments[0] if mean is None else 0.9 * mean + 0.1 * moments[0]
        var = moments[1] if var is None else 0.9 * var + 0.1 * moments[1]
        y, state = batched(layer, x, state)
        np.testing.assert_allclose(y, normalized64(x, mean, var, layer), **CLOSE)
        stored_mean, stored_var, first = statistics(layer, state)
        np.testing.assert_allclose(stored_mean, mean, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(stored_var, var, rtol=1e-6)
        assert first is False
        evaluated, kept = batched(layer, x, copied(state), inference=True)
        np.testing.assert_allclose(evaluated, y, **CLOSE)
        assert eqx.tree_equal(kept, state)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_training_is_the_frameworks(mode, shape, rng, standard_promotion):
    """Outputs, gradients and what is stored follow the framework's own, batch after batch."""
    layer, state = build(ours, mode)
    layer = with_parameters(layer, rng)
    theirs, their_state = build(eqx.nn, mode)
    theirs = eqx.tree_at(
        lambda layer: (layer.weight, layer.bias), theirs, (layer.weight, layer.bias)
    )
    target = rng.standard_normal(shape).astype(np.float32)

    @eqx.filter_jit
    def run(layer, state, x):
        def loss(both):
            y, updated = batched(both[0], both[1], state)
            return jnp.sum(y * target), (y, updated)

        (_, (y, updated)), (of_layer, of_x) = eqx.filter_value_and_grad(loss, has_aux=True)(
            (layer, x)
        )
        return (y, of_layer.weight, of_layer.bias, of_x), updated

    for x in batches(rng, shape):
        arrays, state = run(layer, state, x)
        their_arrays, their_state = run(theirs, their_state, x)
        for one, other in zip(arrays, their_arrays, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5)
        for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(their_state), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_one_step_is_enough_to_evaluate(rng, standard_promotion):
    """After one batch of variance 1, evaluation is by about 1; the framework's own by about 100."""
    x = rng.standard_normal((512, 3))
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    spreads = []
    for source in (ours, eqx.nn):
        layer, state = build(source, "batch")
        _, state = batched(layer, x, state)
        y, _ = batched(layer, x, state, inference=True)
        spreads.append(np.asarray(y, np.float64).std(0))
    np.testing.assert_allclose(spreads[0], 1, rtol=1e-4)
    np.testing.assert_allclose(spreads[1], 0.1, rtol=0.01)  # 1 / sqrt(99 + 1)


@pytest.mark.parametrize("mode", MODES)
def test_long_training_evaluates_as_the_frameworks(mode, rng, standard_promotion):
    """A checkpoint that the framework's own class has trained for long evaluates the same here."""
    theirs, state = build(eqx.nn, mode, momentum=0.8)
    layer, _ = build(ours, mode, momentum=0.8)
    for x in batches(rng, (16, 3), 100):
        _, state = batched(theirs, x, state)
    x = next(batches(rng, (16, 3)))
    expected, _ = batched(theirs, x, copied(state), inference=True)
    y, _ = batched(layer, x, state, inference=True)
    np.testing.assert_allclose(y, expected, **CLOSE)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 1.0])
def test_the_start_leaves_no_trace(momentum, rng):
    """In mode "batch" any momentum evaluates by the batches alone; 1 never moves from (0, 1)."""
    layer, state = build(ours, "batch", momentum=momentum)
    x = next(batches(rng, (16, 3)))
    for _ in range(3):
        _, state = batched(layer, x, state)
    y, _ = batched(layer, x, state, inference=True)
    moments = (np.zeros(3), np.ones(3)) if momentum == 1 else moments64(x)
    np.testing.assert_allclose(y, normalized64(x, *moments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_before_training_is_the_identity(mode, rng, standard_promotion):
    """Nothing seen yet: mean 0, variance 1. The framework's own multiplies by 316 in mode "ema"."""
    x = rng.standard_normal((4, 3, 5)).astype(np.float32)
    layer, state = build(ours, mode)
    y, _ = batched(layer, x, state, inference=True)
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5), rtol=1e-6)
    theirs, state = build(eqx.nn, mode)
    y, _ = batched(theirs, x, state, inference=True)
    factor = 1e-5 if mode == "ema" else 1 + 1e-5
    np.testing.assert_allclose(y, x / np.sqrt(factor), rtol=1e-5)


def test_gradients_flow_through_what_was_stored_in_the_same_call(rng, standard_promotion):
    """In mode "ema" a second call in one function is differentiated through the first one, too."""
    x = rng.standard_normal((2, 16, 3)).astype(np.float32)

    def gradient(source):
        layer, state = build(source, "ema", momentum=0.5)

        def loss(x):
            _, moved = batched(layer, x[0], copied(state))
            y, _ = batched(layer, x[1], moved)
            return jnp.sum(y**3)

        return jax.grad(loss)(x)

    mine = gradient(ours)
    assert np.abs(np.asarray(mine[0])).max() > 0.01
    np.testing.assert_allclose(mine, gradient(eqx.nn), rtol=1e-4, atol=1e-5)
