"""Batch renorm: the paper's formulas in float64 NumPy, Keras' layer, and what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, check_message, example, run

from inox.nn import BatchNorm, BatchRenorm, Statistics, export_state, freeze, update_state

CHANNELS = 4
EPSILON = 1e-3
# Running statistics near the example's (mean 1, variance 4), nearly at a limit, and far off.
MEAN = np.array([0.5, 1.0, -20.0, 30.0])
VAR = np.array([3.0, 5.0, 0.01, 900.0])


def make(**options):
    """A layer with the running statistics above, all its warming-up batches behind it."""
    layer, state = export_state(BatchRenorm(CHANNELS, **options))
    stats = Statistics(jnp.asarray(MEAN, jnp.float32), jnp.asarray(VAR, jnp.float32))
    batches = jnp.full(CHANNELS, float(layer.steps))
    return layer, update_state(state, {layer.stats: stats, layer.batches: batches})


def paper64(x, r_max=3.0, d_max=5.0, mean=MEAN, var=VAR):
    """Algorithm 1 of the paper for arrays (N, C) in float64: output, r and d."""
    x = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    batch_mean, batch_var = x.mean(0), x.var(0)
    batch_deviation, deviation = np.sqrt(batch_var + EPSILON), np.sqrt(var + EPSILON)
    r = np.clip(batch_deviation / deviation, 1 / r_max, r_max)
    d = np.clip((batch_mean - mean) / deviation, -d_max, d_max)
    return (x - batch_mean) / batch_deviation * r + d, r, d


def test_output_is_the_papers():
    """With and without a limit reached, r below 1 and above, d of either sign."""
    x = example()
    for r_max, d_max in ((3.0, 5.0), (1e6, 1e6), (1.0, 0.0), (1.25, 0.5)):
        layer, state = make(r_max=r_max, d_max=d_max)
        y, _ = run(layer, state, x)
        expected, r, d = paper64(x, r_max, d_max)
        assert_close(np.reshape(y, (-1, CHANNELS)), expected)
    _, r, d = paper64(x)
    assert r.min() == pytest.approx(1 / 3)
    assert r.max() == 3
    assert d.min() < 0
    assert d.max() == 5


def test_where_no_limit_is_reached_training_is_evaluation():
    """The output is (x - running mean) / running deviation: no sample depends on another."""
    layer, state = make(r_max=1e4, d_max=1e4)
    trained, _ = run(layer, state, example())
    layer.train(False)
    evaluated, _ = run(layer, state, example())
    assert_close(trained, evaluated)


def test_limits_of_one_and_zero_are_batch_norm():
    """With r_max 1 and d_max 0 output, gradient and state are batch norm's."""
    layer, state = make(r_max=1.0, d_max=0.0)
    norm, norm_state = export_state(BatchNorm(CHANNELS, 1e-3, 0.99))
    norm_state = {norm.stats: state[layer.stats]}
    y, after = run(layer, state, example())
    expected, expected_after = run(norm, norm_state, example())
    assert_close(y, expected)
    assert_same_bits(after[layer.stats], expected_after[norm.stats])


def test_the_first_steps_are_batch_norm():
    """For `steps` batches r is 1 and d is 0; empty batches and evaluation count for nothing."""
    layer, state = export_state(BatchRenorm(CHANNELS, momentum=0.5, steps=2))
    norm, norm_state = export_state(BatchNorm(CHANNELS, 1e-3, 0.5))
    step, norm_step = jax.jit(layer), jax.jit(norm)
    for t in range(2):
        x = example(t) + t
        _, state = run(layer, state, x, where=np.zeros((1, 1, 1, 1), bool))
        y, state = step(x, state)
        expected, norm_state = norm_step(x, norm_state)
        assert_close(y, expected)
        assert_same_bits(state[layer.stats], norm_state[norm.stats])
        np.testing.assert_array_equal(state[layer.batches], np.full(CHANNELS, t + 1))
    mean, var = (np.asarray(leaf, np.float64) for leaf in state[layer.stats])
    y, _ = step(example(5), state)
    expected, _, _ = paper64(example(5), mean=mean, var=var)
    assert_close(np.reshape(y, (-1, CHANNELS)), expected)


def test_scale_bias_and_half_precision():
    """y scale + bias on top; a half type is rounded once, at the end."""
    scale, bias = np.array([0.5, -1.0, 2.0, 1.5]), np.array([1.0, 0.25, -3.0, 0.0])
    layer, state = make(
        scale=jnp.asarray(scale, jnp.float32), bias=jnp.asarray(bias[None, None, None], jnp.float32)
    )
    for dtype, unit in ((jnp.float32, 8 * 2.0**-23), (jnp.bfloat16, 0.51 * 2.0**-7)):
        x = jnp.asarray(example(), dtype)
        y, _ = run(layer, state, x)
        assert y.dtype == dtype
        expected = paper64(np.asarray(x, np.float64))[0] * scale + bias
        error = np.abs(np.reshape(np.asarray(y, np.float64), (-1, CHANNELS)) - expected)
        magnitude = 2.0 ** np.floor(np.log2(np.maximum(np.abs(expected), 1)))
        assert np.max(error / magnitude) <= unit


def test_gradients_stop_at_the_corrections():
    """The gradient is that of batch norm times r, and d passes none; forward mode agrees."""
    layer, state = make(scale=jnp.full(CHANNELS, 2.0))
    x, weight = example().reshape(-1, CHANNELS), example(1).reshape(-1, CHANNELS)

    def loss(layer, x):
        return jnp.sum(layer(x, state)[0] * weight)

    by_layer, by_x = jax.jit(jax.grad(loss, (0, 1)))(layer, x)
    wide, cotangent = x.astype(np.float64), 2 * weight.astype(np.float64)
    y, r, _ = paper64(x)
    deviation = np.sqrt(wide.var(0) + EPSILON)
    normalized = (wide - wide.mean(0)) / deviation
    projected = (
        cotangent - cotangent.mean(0) - normalized * (normalized * cotangent).mean(0)
    ) / deviation
    assert_close(by_x, r * projected, 16)
    assert_close(by_layer.scale.value, (y * weight).sum(0), 64)
    tangent = example(2).reshape(-1, CHANNELS)
    _, slope = jax.jvp(lambda x: loss(layer, x), (x,), (tangent,))
    np.testing.assert_allclose(slope, np.sum(r * projected * tangent), rtol=1e-4, atol=1e-2)


def test_masks_and_mapped_axes():
    """Masked positions take no part, and a batch split over vmap is the whole batch."""
    layer, state = make()
    x = example(0, (8, CHANNELS))
    where = np.arange(8)[:, None] < 5
    y, after = run(layer, state, np.where(where, x, np.nan), where=where)
    expected, expected_after = run(layer, state, x[:5])
    assert_close(y[:5], expected)
    np.testing.assert_array_equal(y[5:], 0)
    assert_close(after[layer.stats].mean, expected_after[layer.stats].mean)
    pooled, state = make(axis_name="parts")
    mapped = jax.jit(jax.vmap(pooled, (0, None), (0, None), axis_name="parts"))
    parts, _ = mapped(x.reshape(4, 2, CHANNELS), state)
    assert_close(np.reshape(parts, (8, CHANNELS)), run(layer, state, x)[0])


def test_limits_may_be_arrays():
    """Array limits are leaves: a schedule changes them without compiling again."""
    layer, state = make(r_max=jnp.float32(1.5), d_max=jnp.float32(0.25))
    compiled = jax.jit(lambda layer, x: layer(x, state)[0])
    for r_max, d_max in ((1.5, 0.25), (2.5, 3.0)):
        layer.r_max, layer.d_max = jnp.float32(r_max), jnp.float32(d_max)
        y = compiled(layer, example())
        assert_close(np.reshape(y, (-1, CHANNELS)), paper64(example(), r_max, d_max)[0])
    assert compiled._cache_size() == 1


def test_scan_freeze_and_a_batch_that_is_not_finite():
    """The state is a scan's carry; frozen, the layer evaluates; skip_nonfinite as in batch norm."""
    layer, state = make(skip_nonfinite=True)
    data = np.stack([example(seed) for seed in range(3)])
    scanned, _ = jax.lax.scan(lambda state, x: layer(x, state)[::-1], state, data)
    looped = state
    for x in data:
        _, looped = run(layer, looped, x)
    for one, other in zip(jax.tree.leaves(scanned), jax.tree.leaves(looped), strict=True):
        assert_close(one, other, 2)
    frozen = freeze(layer)
    frozen.train()
    y, after = frozen(example(), state)
    assert_close(y, (example().astype(np.float64) - MEAN) / np.sqrt(VAR + EPSILON))
    assert_same_bits(after, state)
    bad = example()
    bad[0, 0, 0, 1] = np.nan
    _, after = run(layer, state, bad)
    assert_same_bits(after[layer.stats].mean[1], state[layer.stats].mean[1])
    assert float(after[layer.batches][1]) == layer.steps


def test_against_keras(peer, standard_promotion):
    """Keras' renormalization gives the same output, given the same running statistics.

    Keras keeps renormalization's own averages, of the mean and of the deviation; it has no
    counterpart of `steps`. Its epsilon stands under the root of the batch's variance alone, so the
    running deviation is handed over with ours in it.
    """
    keras = peer("keras")
    limits = {"rmax": 3.0, "rmin": 1 / 3.0, "dmax": 5.0}
    theirs = keras.layers.BatchNormalization(
        epsilon=EPSILON, renorm=True, renorm_clipping=limits, center=False, scale=False
    )
    x = example()
    theirs.build(x.shape)
    values = {"renorm_mean": MEAN, "renorm_stddev": np.sqrt(VAR + EPSILON)}
    for variable in theirs.weights:
        for name, value in values.items():
            if variable.name.endswith(name):
                variable.assign(value.astype(np.float32))
    layer, state = make()
    y, _ = run(layer, state, x)
    assert_close(y, np.asarray(theirs(x, training=True)), 16)


def test_mistakes_are_told():
    """Limits and steps out of range are errors that name the argument and the cure."""
    for options, kind, name in (
        ({"r_max": 0.5}, ValueError, "r_max"),
        ({"d_max": -1.0}, ValueError, "d_max"),
        ({"r_max": float("nan")}, ValueError, "r_max"),
        ({"r_max": "3"}, TypeError, "r_max"),
        ({"d_max": jnp.ones(3)}, TypeError, "d_max"),
        ({"steps": -1}, ValueError, "steps"),
        ({"steps": 2**24 + 1}, ValueError, "steps"),
        ({"steps": 1.5}, TypeError, "steps"),
        ({"momentum": 1.5}, ValueError, "momentum"),
    ):
        with pytest.raises(kind) as error:
            BatchRenorm(CHANNELS, **options)
        check_message(error, name)
    layer, state = make()
    with pytest.raises(ValueError, match="lacks the key") as error:
        layer(example(), {layer.stats: state[layer.stats]})
    check_message(error, "batches")
