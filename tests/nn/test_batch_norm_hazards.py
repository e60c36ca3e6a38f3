"""Batches that may poison running statistics: empty, masked, single, NaN, infinite."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, call, example, run, standardize64

from inox.nn import BatchNorm, Statistics, export_state, update_state


def trained(**keywords):
    """A layer with scale and bias and a state that has seen two batches."""
    layer, state = export_state(
        BatchNorm(4, scale=jnp.array([0.5, -1.0, 2.0, 1.5]), bias=jnp.arange(4.0), **keywords)
    )
    for seed in range(2):
        _, state = run(layer, state, example(seed))
    return layer, state


@pytest.mark.parametrize("warmup", [False, True], ids=["plain", "warmup"])
@pytest.mark.parametrize(
    ("caller", "shape"),
    [(call, (0, 4)), (run, (0, 4)), (run, (0, 3, 4)), (run, (2, 0, 4))],
    ids=["eager", "no_row", "no_sequence", "no_position"],
)
def test_empty_batch_leaves_the_state_as_it_was(caller, shape, warmup):
    """A batch without a position gives an empty output and the state's bits, in both modes."""
    layer, state = trained(warmup=warmup)
    for mode in (True, False):
        layer.train(mode)
        y, after = caller(layer, state, jnp.zeros(shape))
        assert y.shape == shape
        assert y.dtype == jnp.float32
        assert_same_bits(after, state)


@pytest.mark.parametrize("caller", [call, run], ids=["eager", "jitted"])
@pytest.mark.parametrize("warmup", [False, True], ids=["plain", "warmup"])
def test_masked_batch_leaves_the_state_as_it_was(warmup, caller):
    """Where every position is masked the output is exactly 0 and the state keeps its bits."""
    layer, state = trained(warmup=warmup)
    mask = np.zeros((3, 5, 1), bool)
    for mode, filling in itertools.product((True, False), (1.0, np.nan, np.inf)):
        layer.train(mode)
        y, after = caller(layer, state, jnp.full((3, 5, 4), filling), where=mask)
        np.testing.assert_array_equal(y, np.zeros((3, 5, 4)))
        assert_same_bits(after, state)


def test_channel_without_a_valid_position_keeps_its_statistics():
    """A mask that empties one channel leaves its running statistics and moves the others."""
    layer, state = trained()
    x = example(3)
    mask = np.ones((1, 1, 1, 4), bool)
    mask[..., 2] = False
    y, after = run(layer, state, x, where=mask)
    np.testing.assert_array_equal(y[..., 2], np.zeros(x.shape[:-1]))
    before, now = state[layer.stats], after[layer.stats]
    assert_same_bits(now.mean[2], before.mean[2])
    assert_same_bits(now.var[2], before.var[2])
    expected = 0.9 * np.asarray(before.mean, np.float64) + 0.1 * x.astype(np.float64).mean(
        (0, 1, 2)
    )
    assert_close(np.delete(np.asarray(now.mean), 2), np.delete(expected, 2))


def test_padded_and_masked_batch_equals_the_ragged_one():
    """Values, gradients and state are those of the valid positions, whatever the padding."""
    layer, state = trained()
    ragged = example(4, (7, 4))
    weight = example(5, (7, 4))
    mask = np.zeros((2, 5, 1), bool)
    mask[0, :4] = mask[1, 1:4] = True
    wide = np.full((2, 5, 4), 3.0, np.float32)
    wide[mask[..., 0]] = weight

    @jax.jit
    def gradients(layer, x, weight, where):
        def loss(layer, x):
            y, after = layer(x, state, where=where)
            return jnp.sum(y * weight), (y, after)

        return jax.grad(loss, (0, 1), has_aux=True)(layer, x)

    expected = gradients(layer, ragged, weight, None)
    (layer_expected, x_expected), (y_expected, after_expected) = expected
    outside = ~mask[..., 0]
    for filling in (0.0, np.nan, np.inf, -1e30):
        padded = np.full((2, 5, 4), filling, np.float32)
        padded[~outside] = ragged
        (by_layer, by_x), (y, after) = gradients(layer, padded, wide, mask)
        np.testing.assert_array_equal(np.asarray(y)[outside], 0)
        np.testing.assert_array_equal(np.asarray(by_x)[outside], 0)
        assert_close(np.asarray(y)[~outside], y_expected)
        assert_close(np.asarray(by_x)[~outside], x_expected, 32)
        for one, other in zip(
            jax.tree.leaves((by_layer, after)),
            jax.tree.leaves((layer_expected, after_expected)),
            strict=True,
        ):
            assert_close(one, other, 32)
    normalized = standardize64(ragged, 0, 1e-5)
    assert_close(y_expected, normalized * np.asarray(layer.scale()) + np.asarray(layer.bias()))


def test_mask_in_evaluation_zeroes_the_masked_positions():
    """Evaluation normalizes where the mask is True and gives exactly 0 elsewhere."""
    layer, state = trained()
    layer.train(False)
    x = np.array(example(6))
    mask = np.random.default_rng(1).random((3, 5, 2, 1)) < 0.5
    poisoned = np.where(mask, x, np.nan).astype(np.float32)
    y, after = run(layer, state, poisoned, where=mask)
    expected = np.where(mask, np.asarray(run(layer, state, x)[0]), 0)
    assert_close(y, expected, 2)
    np.testing.assert_array_equal(np.asarray(y)[~mask[..., 0]], 0)
    assert_same_bits(after, state)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(layer(x, state, where=mask)[0])))(poisoned)
    np.testing.assert_array_equal(np.asarray(slope)[~mask[..., 0]], 0)
    assert np.isfinite(np.asarray(slope)).all()


BAD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_nonfinite_channel_shows_in_the_state(bad):
    """By default a NaN or infinite channel makes its own running statistics non-finite."""
    layer, state = trained()
    x = np.array(example(7))
    x[1, 2, 0, 1] = bad
    y, after = run(layer, state, x)
    mean, var = (np.asarray(part) for part in after[layer.stats])
    assert not np.isfinite(mean[1])
    assert not np.isfinite(var[1])
    others = [0, 2, 3]
    assert np.isfinite(mean[others]).all()
    clean_y, clean = run(layer, state, example(7))
    assert_close(mean[others], np.asarray(clean[layer.stats].mean)[others], 2)
    assert_close(var[others], np.asarray(clean[layer.stats].var)[others], 2)
    assert_close(np.asarray(y)[..., others], np.asarray(clean_y)[..., others], 2)


@pytest.mark.parametrize("caller", [call, run], ids=["eager", "jitted"])
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_skip_nonfinite_leaves_that_channels_statistics(bad, caller):
    """With `skip_nonfinite=True` the channel's running statistics stay, the others move."""
    layer, state = trained(skip_nonfinite=True)
    x = np.array(example(7))
    x[1, 2, 0, 1] = bad
    _, after = caller(layer, state, x)
    _, clean = caller(layer, state, example(7))
    before, now, expected = state[layer.stats], after[layer.stats], clean[layer.stats]
    for part in range(2):
        assert_same_bits(now[part][1], before[part][1])
        assert_close(
            np.delete(np.asarray(now[part]), 1), np.delete(np.asarray(expected[part]), 1), 2
        )
        assert not np.array_equal(np.asarray(expected[part])[1], np.asarray(before[part])[1])


def test_skip_nonfinite_changes_nothing_on_finite_batches():
    """On finite data the option is no difference in any bit of the state."""
    layer, state = trained()
    careful, _ = trained(skip_nonfinite=True)
    assert_same_bits(run(layer, state, example(8)), run(careful, state, example(8)))


def test_integer_and_boolean_batches_are_promoted():
    """Integers and booleans become the default float before the statistics are taken."""
    layer, state = export_state(BatchNorm(4, momentum=0.0))
    numbers = np.random.default_rng(2).integers(-9, 9, (8, 4))
    for x in (numbers.astype(np.int32), numbers > 0, numbers.astype(np.int8)):
        y, after = run(layer, state, jnp.asarray(x))
        assert y.dtype == jnp.float32
        assert_close(y, standardize64(x, 0, 1e-5))
        np.testing.assert_allclose(after[layer.stats].var, x.astype(np.float64).var(0), rtol=1e-6)


def test_state_in_half_precision_is_evaluated_in_float32():
    """A state that was stored in bfloat16 is read without loss and normalizes in float32."""
    layer, state = trained()
    half = update_state(
        state,
        {layer.stats: Statistics(*(part.astype(jnp.bfloat16) for part in state[layer.stats]))},
    )
    layer.train(False)
    x = example()
    y, _ = run(layer, half, x)
    mean, var = (np.asarray(part.astype(jnp.float32), np.float64) for part in half[layer.stats])
    expected = (x - mean) / np.sqrt(var + 1e-5) * np.asarray(layer.scale()) + np.asarray(
        layer.bias()
    )
    assert y.dtype == jnp.float32
    assert_close(y, expected)
