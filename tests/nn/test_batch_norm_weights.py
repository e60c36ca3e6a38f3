"""Batch norm of samples with weights, against weighted moments in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from layer_cases import assert_close, example

from inox import functional
from inox.calibration import accumulate, commit, recalibrate
from inox.kernels.cpu.library import library
from inox.nn import BatchNorm, export_state

SAMPLES = 6
X = example(0, (SAMPLES, 3, 4)) + 3 * np.arange(SAMPLES, dtype=np.float32)[:, None, None]
# Far below 1 in sum: a count of elements could not be that. The third sample takes no part.
WEIGHTS = np.array([0.02, 0.1, 0, 0.01, 0.3, 0.05], np.float32)[:, None, None]
SPOILED = np.where(WEIGHTS > 0, X, np.float32(np.nan))


def exact(x, weights):
    """Sum of weights, mean and variance of each channel."""
    w = np.broadcast_to(np.asarray(weights, np.float64), x.shape)
    x = np.where(w > 0, np.asarray(x, np.float64), 0)
    count = w.sum((0, 1))
    mean = (w * x).sum((0, 1)) / count
    return count, mean, (w * (x - mean) ** 2).sum((0, 1)) / count


def build(**keywords):
    return export_state(BatchNorm(4, momentum=0.5, **keywords))


def check_running(stats, x=X, weights=WEIGHTS):
    _, mean, var = exact(x, weights)
    assert_close(stats.mean, 0.5 * mean)
    assert_close(stats.var, 0.5 + 0.5 * var)


def test_weights_count_in_what_normalizes_and_in_what_is_remembered():
    """A sample of weight 0 may hold NaN, counts as nothing, and is normalized like any other."""
    layer, state = build()
    run = jax.jit(lambda x: layer(x, state, weights=WEIGHTS))
    _, mean, var = exact(X, WEIGHTS)
    y, after = run(X)
    assert_close(y, (X - mean) / np.sqrt(var + 1e-5))
    check_running(after[layer.stats])
    y, after = run(SPOILED)
    there = WEIGHTS[:, 0, 0] > 0
    assert_close(np.asarray(y)[there], ((X - mean) / np.sqrt(var + 1e-5))[there])
    check_running(after[layer.stats])
    layer.train(False)
    mean, var = (np.asarray(part, np.float64) for part in after[layer.stats])
    y, same = layer(X, after, weights=WEIGHTS)
    assert_close(y, (X - mean) / np.sqrt(var + 1e-5))
    np.testing.assert_array_equal(same[layer.stats].mean, after[layer.stats].mean)


def test_nothing_leaks_from_weight_0():
    """With NaN in a sample of weight 0 no gradient is NaN, and that of the others is unchanged."""
    scale, there = jnp.full(4, 2.0), WEIGHTS[:, 0, 0] > 0

    @jax.jit
    def gradients(x):
        def loss(x, scale):
            y, _ = functional.batch_norm(x, scale, weights=WEIGHTS)
            return jnp.sum(y**3 * (WEIGHTS > 0).astype(np.float32))

        return jax.grad(loss, (0, 1))(x, scale)

    for clean, spoiled in zip(gradients(X), gradients(SPOILED), strict=True):
        assert np.isfinite(spoiled).all()
        kept = there if clean.ndim == 3 else slice(None)
        np.testing.assert_array_equal(np.asarray(clean)[kept], np.asarray(spoiled)[kept])


def test_weights_of_1_and_0_are_a_mask_but_for_the_output():
    """Moments to the last digits, and the same y where the mask holds."""
    where = np.random.default_rng(3).uniform(size=X.shape) < 0.6
    y, moments = functional.batch_norm(X, weights=where.astype(np.float32))
    masked, expected = functional.batch_norm(X, where=where)
    for found, one in zip(moments, expected, strict=True):
        assert_close(found, one)
    assert_close(np.where(where, y, 0), masked)


def test_one_element_with_a_weight_moves_nothing():
    """Whether there are two is asked of the elements, not of the sum of their weights."""
    layer, state = build()
    one = np.where(np.arange(SAMPLES * 3).reshape(SAMPLES, 3, 1) == 4, np.float32(50), 0)
    for weights in (one, np.zeros_like(one)):
        _, after = layer(X, state, weights=weights)
        np.testing.assert_array_equal(after[layer.stats].mean, state[layer.stats].mean)
        np.testing.assert_array_equal(after[layer.stats].var, state[layer.stats].var)


def test_pooled_batches_are_asked_for_two_elements_too():
    """Weights that sum to 1 move the state as in one batch; one element of weight 50 does not."""
    layer, state = build()
    equal = np.full((SAMPLES, 3, 1), 1 / (3 * SAMPLES), np.float32)
    one = np.where(np.arange(SAMPLES * 3).reshape(SAMPLES, 3, 1) == 4, np.float32(50), 0)
    for weights in (equal, one):
        _, expected = layer(X, state, weights=weights)
        pooling, pooled = accumulate(layer, state)
        for part in (slice(0, 2), slice(2, SAMPLES)):
            _, pooled = pooling(X[part], pooled, weights=weights[part])
        found = commit(layer, state, pooled)
        for array, other in zip(found[layer.stats], expected[layer.stats], strict=True):
            assert_close(array, other)

    def run(layer, state, batch):
        return layer(batch[0], state, weights=batch[1])[1]

    found = recalibrate(run, layer, state, [(X, equal)], progress=False)
    assert_close(found[layer.stats].var, exact(X, equal)[2])
    with pytest.raises(ValueError, match="batches hold one element"):
        recalibrate(run, layer, state, [(X, one)], progress=False)


@pytest.mark.parametrize("way", ["shard_map", "vmap"])
def test_devices_are_pooled_by_their_weights(way):
    """Three parts: y, state and the gradients of x and weights are those of the whole batch."""
    layer, state = build(axis_name="parts")
    alone, alone_state = build()
    dy = example(1, X.shape)

    def on_part(x, weights):
        return layer(x, state, weights=weights)

    if way == "shard_map":
        mesh = jax.make_mesh((3,), ("parts",), axis_types=(AxisType.Auto,))
        split = PartitionSpec("parts")
        mapped = jax.shard_map(
            on_part, mesh=mesh, in_specs=(split, split), out_specs=(split, PartitionSpec())
        )
    else:

        def mapped(x, weights):
            parts = (array.reshape(3, 2, *array.shape[1:]) for array in (x, weights))
            y, after = jax.vmap(on_part, axis_name="parts", out_axes=(0, None))(*parts)
            return y.reshape(X.shape), after

    def results(norm):
        @jax.jit
        def run(x, weights):
            y, pullback, after = jax.vjp(norm, x, weights, has_aux=True)
            return y, pullback(dy), after

        return run(X, WEIGHTS)

    y, gradients, after = results(mapped)
    expected, of_whole, _ = results(lambda x, w: alone(x, alone_state, weights=w))
    check_running(after[layer.stats])
    assert_close(y, expected)
    for found, whole in zip(gradients, of_whole, strict=True):
        assert_close(found, np.asarray(whole), 64)


def test_virtual_batches_and_microbatches_with_weights():
    """Groups are weighted inside, and weigh by their sums in the state; so do microbatches."""
    layer, state = build(virtual_batch=3)
    y, after = layer(X, state, weights=WEIGHTS)
    for part in (slice(0, 3), slice(3, 6)):
        _, mean, var = exact(X[part], WEIGHTS[part])
        assert_close(y[part], (X[part] - mean) / np.sqrt(var + 1e-5), 16)
    check_running(after[layer.stats])
    pooling, pooled = accumulate(layer, state)
    for part in (slice(0, 3), slice(3, 6)):
        _, pooled = pooling(X[part], pooled, weights=100 * WEIGHTS[part])
    check_running(commit(layer, state, pooled)[layer.stats])


def test_a_constant_channel_has_no_variance():
    """Whatever the weights: deviations are exactly 0, as of equal weights, and y is the bias."""
    weights = np.random.default_rng(5).uniform(0.1, 3, (500, 1)).astype(np.float32)
    x = np.full((500, 2), [0.1, 12345.678], np.float32)
    y, moments = functional.batch_norm(x, bias=jnp.array(2.0), weights=weights, epsilon=0.0)
    np.testing.assert_array_equal(y, np.full_like(x, 2))
    np.testing.assert_array_equal(moments.mean, x[0])
    np.testing.assert_array_equal(moments.var, 0)


def test_moments_are_exact_where_the_mean_is_large():
    """Mean / deviation 1e6, weights over six decades: errors of a few units in the last place."""
    rng = np.random.default_rng(6)
    x = (1e6 + rng.normal(size=(4000, 8))).astype(np.float32)
    weights = np.exp(rng.normal(0, 2.3, (4000, 1))).astype(np.float32)
    count, mean, var = functional.moments(x, 0, weights=weights)
    w, wide = weights.astype(np.float64), x.astype(np.float64)
    exact_mean = (w * wide).sum(0) / w.sum()
    exact_var = (w * (wide - exact_mean) ** 2).sum(0) / w.sum()
    ulp = np.finfo(np.float32).eps
    assert np.abs(count / w.sum() - 1).max() <= 2 * ulp
    assert (np.abs(mean - exact_mean) <= np.spacing(mean)).all()
    assert np.abs(var / exact_var - 1).max() <= 4 * ulp


@pytest.mark.parametrize(("unit", "cotangent"), [(1e30, 1e-9), (1e-30, 1e-3)])
def test_gradients_do_not_depend_on_the_unit_of_the_weights(unit, cotangent):
    """All weights times a number: the same gradient in x, also where weights and dy underflow."""

    def gradient(unit, cotangent):
        def loss(x):
            _, mean, var = functional.moments(x, 0, weights=WEIGHTS * np.float32(unit))
            return jnp.sum(mean + var) * cotangent

        return np.asarray(jax.grad(loss)(X)) / cotangent

    expected = gradient(1, 1)
    assert np.abs(expected).max() > 0.1
    assert_close(gradient(unit, np.float32(cotangent)), expected)


def test_a_negative_weight_that_is_traced_counts_as_0_in_gradients_too():
    """Forward it is a weight of 0, which nobody can refuse under jit; x gets no gradient there."""
    x = np.array([[1.0], [2.0], [4.0]], np.float32)
    weights = np.array([[1], [2], [-1]], np.float32)

    @jax.jit
    def gradients(x, weights):
        return jax.grad(lambda *a: functional.moments(a[0], 0, weights=a[1])[1].sum(), (0, 1))(
            x, weights
        )

    of_x, of_weights = gradients(x, weights)
    assert_close(of_x, [[1 / 3], [2 / 3], [0]])
    assert_close(of_weights, [[-2 / 9], [1 / 9], [0]])


def test_kernels_are_refused():
    """`implementation="cpu"` has none for weights, and the message says what to use."""
    if not library().available:
        pytest.skip("there are no kernels")
    for call in (functional.batch_norm, lambda x, **k: functional.moments(x, 0, **k)):
        with pytest.raises(ValueError, match=r"'cpu' has no kernel for weights.*None"):
            call(X, weights=WEIGHTS, implementation="cpu")
