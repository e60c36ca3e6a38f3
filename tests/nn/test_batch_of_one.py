"""One element a channel has no variance: refused where it is known, no update where it isn't."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, check_message, example, run

from inox import calibration
from inox.functional import Moments
from inox.nn import BatchNorm, BatchRenorm, export_state

LAYERS = {
    "batch": lambda **k: BatchNorm(4, **k),
    "batch_warmup": lambda **k: BatchNorm(4, warmup=True, **k),
    "batch_renorm": lambda **k: BatchRenorm(4, **k),
}
each = pytest.mark.parametrize("name", LAYERS)
ONE = example(shape=(1, 4))


def trained(name, **keywords):
    layer, state = export_state(LAYERS[name](**keywords))
    return layer, run(layer, state, example())[1]


@each
@pytest.mark.parametrize("shape", [(1, 4), (1, 1, 4), (1, 1, 1, 4)], ids=str)
def test_training_refuses_one_element_a_channel(name, shape):
    """The output would be the bias whatever x is, and the running variance would go to 0."""
    layer, state = trained(name)
    x = example(shape=shape)
    for attempt in (layer, lambda x, s: jax.eval_shape(layer, x, s)):
        with pytest.raises(ValueError, match="one element a channel") as error:
            attempt(x, state)
        check_message(error, "x", str(shape), "axis_name", "training=False")
    with pytest.raises(ValueError, match="one element a channel"):
        jax.vmap(lambda x: layer(x, state))(np.stack([x, x]))


@each
@pytest.mark.parametrize("shape", [(1, 2, 4), (2, 4), (1, 1, 2, 4)], ids=str)
def test_two_elements_are_a_batch(name, shape):
    """One sample of several positions, or several samples: the variance is theirs."""
    layer, state = trained(name, momentum=0.0)
    x = example(3, shape=shape)
    _, after = layer(x, state)
    assert_close(after[layer.stats].var, x.astype(np.float64).reshape(-1, 4).var(0))


@each
def test_evaluation_takes_one_element(name):
    """Evaluation normalizes by the state, so one sample is as good as many."""
    layer, state = trained(name)
    y, after = layer(ONE, state, training=False)
    mean, var = (np.asarray(leaf, np.float64) for leaf in state[layer.stats])
    assert_close(y, (ONE - mean) / np.sqrt(var + layer.epsilon))
    assert_same_bits(after, state)


@each
@pytest.mark.parametrize("seen", [0, 1], ids=["none", "one"])
def test_a_mask_that_leaves_one_element_leaves_the_state(name, seen):
    """Which elements take part is not known while tracing: such a channel is not updated."""
    layer, state = trained(name)
    x, where = example(2, (6, 4)), np.zeros((6, 4), bool)
    where[:seen, 0] = True  # channel 0: none or one element, the others: all
    where[:, 1:] = True
    _, after = run(layer, state, x, where=where)
    _, whole = run(layer, state, x)
    for found, old, new in zip(*map(jax.tree.leaves, (after, state, whole)), strict=True):
        assert_same_bits(found[0], old[0])
        assert_close(found[1:], new[1:])


@each
def test_devices_pool_single_rows(name):
    """With `axis_name` one row on each of four devices is a batch of four; one in all is none."""
    layer, _ = export_state(LAYERS[name](axis_name="rows", momentum=0.0))
    _, state = trained(name)
    mapped = jax.jit(jax.vmap(layer, (0, None), (0, None), axis_name="rows"))
    rows = example(1, (4, 1, 4))
    _, after = mapped(rows, state)
    assert_close(after[layer.stats].var, rows.astype(np.float64).var((0, 1)))
    _, after = mapped(rows[:1], state)
    assert_same_bits(after, state)


def test_microbatches_of_one_row_are_pooled():
    """Pooled, single rows are a batch: the state is that of the four rows together."""
    layer, state = trained("batch")
    pooling, pooled = calibration.accumulate(layer, state)
    rows = example(1, (4, 1, 4))
    for row in rows:
        _, pooled = pooling(row, pooled)
    committed = calibration.commit(layer, state, pooled)
    _, expected = layer(rows[:, 0], state)
    assert_close(committed[layer.stats].mean, expected[layer.stats].mean)
    assert_close(committed[layer.stats].var, expected[layer.stats].var)


def test_moments_of_one_element_leave_the_state():
    """`update_running` knows no variance of one element, either."""
    layer, state = trained("batch_warmup")
    moments = Moments(jnp.array([1.0, 2, 0, 1]), jnp.full(4, 9.0), jnp.array([0.0, 4, 0, 0]))
    after = layer.update_running(state, moments)
    for found, old in zip(*map(jax.tree.leaves, (after, state)), strict=True):
        np.testing.assert_array_equal(
            np.asarray(found) == np.asarray(old), [True, False, True, True]
        )


@pytest.mark.parametrize("size", [2e19, 1e30], ids=str)
def test_a_variance_beyond_float32_counts_as_the_largest(size):
    """Finite numbers make no running statistic infinite for good: later batches mend it."""
    layer, state = export_state(BatchNorm(2, momentum=0.5))
    x = np.array([[-size, -1.0], [size, 1.0]] * 4, np.float32)
    _, after = layer(x, state)
    largest = np.finfo(np.float32).max
    assert_close(after[layer.stats].var, [0.5 + 0.5 * float(largest), 1.0])
    assert np.isfinite(after[layer.stats].mean).all()
    for _ in range(4):
        _, after = layer(x / np.float32(size), after)
    assert_close(after[layer.stats].var[0], float(largest) / 32 + 15 / 16)


def test_pooled_moments_beyond_float32_count_as_the_largest():
    """The same where microbatches are pooled."""
    layer, state = export_state(BatchNorm(2, momentum=0.5))
    x = np.array([[-2e19, -1.0], [2e19, 1.0]] * 4, np.float32)
    pooling, pooled = calibration.accumulate(layer, state)
    for _ in range(3):
        _, pooled = pooling(x, pooled)
    after = calibration.commit(layer, state, pooled)
    assert_close(after[layer.stats].var, [0.5 + 0.5 * float(np.finfo(np.float32).max), 1.0])


def test_skipped_where_the_layer_skips_what_is_not_finite():
    """With `skip_nonfinite` such a channel stays as it was, as for any infinite statistic."""
    layer, state = export_state(BatchNorm(2, momentum=0.5, skip_nonfinite=True))
    x = np.array([[-2e19, -1.0], [2e19, 1.0]] * 4, np.float32)
    _, after = layer(x, state)
    np.testing.assert_array_equal(after[layer.stats].var, [1.0, 1.0])
