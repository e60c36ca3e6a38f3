"""The running statistics of batch norm, in arithmetic that has one right answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, call, example, run, standardize64

from inox.nn import BatchNorm, Statistics, export_state, update_state

# Eight rows of small integers: sums, means, squares and dyadic updates are exact in float32.
INTEGERS = np.random.default_rng(7).integers(-8, 8, (6, 8, 3)).astype(np.float32)


def random_state(layer, state, seed=3):
    """The state with statistics that are not round numbers."""
    random = np.random.default_rng(seed)
    channels = layer.channels
    mean = jnp.asarray(random.standard_normal(channels), jnp.float32)
    var = jnp.asarray(random.uniform(0.1, 3, channels), jnp.float32)
    return update_state(state, {layer.stats: Statistics(mean, var)})


@pytest.mark.parametrize("momentum", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_update_is_exact_where_arithmetic_is(momentum):
    """On integer batches of eight with a dyadic momentum the state has exactly NumPy's numbers."""
    layer, state = export_state(BatchNorm(3, momentum=momentum))
    mean, var = np.zeros(3), np.ones(3)
    # Three compiled calls, then one eager.
    for caller, batch in zip((run, run, run, call), INTEGERS, strict=False):
        _, state = caller(layer, state, batch)
        mean = momentum * mean + (1 - momentum) * batch.astype(np.float64).mean(0)
        var = momentum * var + (1 - momentum) * batch.astype(np.float64).var(0)
        np.testing.assert_array_equal(state[layer.stats].mean, mean)
        np.testing.assert_array_equal(state[layer.stats].var, var)


def test_momentum_one_keeps_every_bit():
    """With momentum 1 the running statistics never move, whatever numbers they hold."""
    layer, state = export_state(BatchNorm(4, momentum=1.0))
    state = random_state(layer, state)
    _, after = run(layer, state, example() * 1e4)
    assert_same_bits(after, state)


def test_momentum_zero_forgets_every_bit():
    """With momentum 0 the running statistics are the last batch's, from any state before."""
    layer, fresh = export_state(BatchNorm(4, momentum=0.0))
    _, one = run(layer, fresh, example())
    _, other = run(layer, random_state(layer, fresh), example())
    assert_same_bits(one, other)
    assert_close(one[layer.stats].mean, example().astype(np.float64).mean((0, 1, 2)))
    assert_close(one[layer.stats].var, example().astype(np.float64).var((0, 1, 2)))


def test_evaluation_agrees_with_training_on_the_same_batch_after_momentum_zero():
    """Where the running statistics are the batch's, both modes give the same output."""
    layer, state = export_state(BatchNorm(4, momentum=0.0))
    trained, state = run(layer, state, example())
    layer.train(False)
    assert_close(run(layer, state, example())[0], trained)


def test_warmup_averages_the_first_batches_equally():
    """Batch t moves the state with momentum min(momentum, t/(t+1)), t = 0, 1, ..."""
    layer, state = export_state(BatchNorm(4, momentum=0.75, warmup=True))
    step = jax.jit(layer)
    mean, var = np.zeros(4), np.ones(4)
    for t in range(7):
        x = example(t) + t
        _, state = step(x, state)
        pooled = x.astype(np.float64).reshape(-1, 4)
        momentum = min(0.75, t / (t + 1))
        mean = momentum * mean + (1 - momentum) * pooled.mean(0)
        var = momentum * var + (1 - momentum) * pooled.var(0)
        assert_close(state[layer.stats].mean, mean)
        assert_close(state[layer.stats].var, var)
        if t < 4:
            batches = np.stack(
                [(example(s) + s).astype(np.float64).reshape(-1, 4) for s in range(t + 1)]
            )
            assert_close(state[layer.stats].mean, batches.mean(1).mean(0))


def test_warmup_makes_evaluation_agree_from_the_first_batch():
    """After one batch, evaluation of that batch gives the training output."""
    layer, state = export_state(BatchNorm(4, warmup=True))
    trained, state = run(layer, state, example())
    layer.train(False)
    evaluated, after = run(layer, state, example())
    assert_close(evaluated, trained)
    assert_close(evaluated, standardize64(example(), (0, 1, 2), 1e-5))
    assert_same_bits(after, state)


def test_warmup_counts_only_batches_that_moved_the_state():
    """A batch without a valid position, and evaluation, leave the warmup's count as it was."""
    layer, state = export_state(BatchNorm(4, warmup=True))
    _, state = run(layer, state, example(), where=np.zeros((3, 5, 2, 1), bool))
    layer.train(False)
    _, state = run(layer, state, example())
    layer.train(True)
    _, state = run(layer, state, example(1))
    assert_close(state[layer.stats].mean, example(1).astype(np.float64).mean((0, 1, 2)))
    assert_close(state[layer.stats].var, example(1).astype(np.float64).var((0, 1, 2)))


def test_state_does_not_depend_on_the_output_being_used():
    """The state is the same whether the output is used or not."""
    layer, state = export_state(BatchNorm(4))
    full = jax.jit(lambda x: layer(x, state))(example())[1]
    alone = jax.jit(lambda x: layer(x, state)[1])(example())
    for one, other in zip(jax.tree.leaves(full), jax.tree.leaves(alone), strict=True):
        assert_close(one, other, 1)


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_running_variance_survives_a_large_mean(offset):
    """Channels far from zero have their own variance, not what is left of a cancelled square."""
    layer, state = export_state(BatchNorm(4, momentum=0.0))
    x = (example() + offset).astype(np.float32)
    y, state = run(layer, state, x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(state[layer.stats].var, exact.var((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(y, standardize64(x, (0, 1, 2), 1e-5), atol=2e-5)


def test_gradient_does_not_flow_into_the_running_statistics():
    """No derivative by x or by the parameters reaches the new state, in reverse or forward mode."""
    layer, state = export_state(BatchNorm(4, scale=jnp.ones(4), bias=jnp.zeros(4)))
    x = jnp.asarray(example())

    def running(layer, x):
        mean, var = layer(x, state)[1][layer.stats]
        return jnp.sum(mean) + 2 * jnp.sum(var)

    by_layer, by_x = jax.grad(running, (0, 1))(layer, x)
    np.testing.assert_array_equal(by_x, np.zeros_like(x))
    for leaf in jax.tree.leaves(by_layer):
        np.testing.assert_array_equal(leaf, np.zeros(4))
    _, tangent = jax.jvp(lambda x: running(layer, x), (x,), (jnp.ones_like(x),))
    assert float(tangent) == 0.0


def test_state_travels_through_has_aux():
    """Loss and gradient with the new state beside them: the training step of the documents."""
    layer, state = export_state(BatchNorm(4, scale=jnp.ones(4), bias=jnp.zeros(4)))
    x, weight = example(), example(1)

    @jax.jit
    def step(layer, state):
        def loss(layer):
            y, updated = layer(x, state)
            return jnp.sum(y * weight), updated

        return jax.value_and_grad(loss, has_aux=True)(layer)

    (_, updated), slope = step(layer, state)
    normalized = standardize64(x, (0, 1, 2), 1e-5)
    assert_close(slope.scale.value, (normalized * weight).sum((0, 1, 2)), 32)
    assert_close(slope.bias.value, weight.astype(np.float64).sum((0, 1, 2)), 32)
    assert_close(updated[layer.stats].mean, x.astype(np.float64).mean((0, 1, 2)) / 10)


def test_checkpoint_updates_the_state_once():
    """Rematerialized in the backward pass, the running statistics still move once a call."""
    layer, state = export_state(BatchNorm(4, momentum=0.5))
    x = example()

    def loss(x, state):
        y, state = jax.checkpoint(layer)(x, state)
        y, state = jax.checkpoint(layer)(y * 3, state)
        return jnp.sum(y**3), state

    _, after = jax.jit(jax.grad(loss, has_aux=True))(x, state)
    pooled = x.astype(np.float64)
    second = 3 * standardize64(x, (0, 1, 2), 1e-5)
    expected = 0.5 * (0.5 + 0.5 * pooled.var((0, 1, 2))) + 0.5 * second.var((0, 1, 2))
    assert_close(after[layer.stats].var, expected)
    np.testing.assert_allclose(
        after[layer.stats].mean, 0.25 * pooled.mean((0, 1, 2)), rtol=1e-5, atol=1e-6
    )


def test_scan_over_batches_equals_a_loop():
    """The state is the carry of `lax.scan`: k batches give the state of k calls in a row."""
    layer, state = export_state(BatchNorm(3, momentum=0.5))

    def body(state, batch):
        y, state = run(layer, state, batch)
        return state, y

    scanned, outputs = jax.jit(lambda state: jax.lax.scan(body, state, INTEGERS))(state)
    for index, batch in enumerate(INTEGERS):
        y, state = run(layer, state, batch)
        assert_close(outputs[index], y, 2)
    np.testing.assert_allclose(scanned[layer.stats].mean, state[layer.stats].mean, rtol=1e-6)
    np.testing.assert_allclose(scanned[layer.stats].var, state[layer.stats].var, rtol=1e-6)
