"""BatchNorm for Equinox: numbers in training and evaluation, running statistics, hazards."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from inox.interop import equinox as ours

MODES = ["batch", "ema"]
SHAPES = {"vectors": (16, 3), "sequences": (8, 3, 5), "images": (4, 3, 4, 2)}
CLOSE = {"rtol": 1e-6, "atol": 3e-6}


def build(source, mode, **settings):
    """A layer of 3 channels and its state."""
    return eqx.nn.make_with_state(source.BatchNorm)(3, "batch", mode=mode, **settings)


def with_parameters(layer, rng):
    """The layer with weight and bias drawn at random."""
    arrays = rng.uniform(0.5, 2, (2, 3)).astype(np.float32)
    return eqx.tree_at(
        lambda layer: (layer.weight, layer.bias), layer, [jnp.asarray(a) for a in arrays]
    )


@eqx.filter_jit
def batched(layer, x, state, inference=None):
    """A batch of samples."""
    call = jax.vmap(
        lambda x, state: layer(x, state, inference=inference),
        axis_name="batch",
        in_axes=(0, None),
        out_axes=(0, None),
    )
    return call(x, state)


def copied(state):
    """A state of the same arrays: Equinox lets each be used once."""
    return jax.tree.map(lambda leaf: leaf, state)


def statistics(layer, state):
    """What the state holds of the layer: mean, variance, and the flag or counter."""
    if layer.mode == "ema":
        indices = layer.ema_state_index, layer.ema_first_time_index
    else:
        indices = layer.batch_state_index, layer.batch_counter
    (mean, var), other = map(state.get, indices)
    return np.asarray(mean, np.float64), np.asarray(var, np.float64), other.item()


def moments64(x):
    """Mean and biased variance of each channel in float64."""
    flat = np.moveaxis(np.asarray(x, np.float64), 1, -1).reshape(-1, x.shape[1])
    return flat.mean(0), flat.var(0)


def normalized64(x, mean, var, layer=None, eps=1e-5):
    """`x` by mean and variance of its channels, with the layer's weight and bias, in float64."""
    along = (-1, *(1,) * (x.ndim - 2))
    y = (np.asarray(x, np.float64) - mean.reshape(along)) / np.sqrt(var.reshape(along) + eps)
    if layer is None:
        return y
    weight, bias = (np.asarray(a, np.float64).reshape(along) for a in (layer.weight, layer.bias))
    return y * weight + bias


def batches(rng, shape, number=4):
    """Batches whose mean and spread differ from channel to channel and from batch to batch."""
    along = (1, 3, *(1,) * (len(shape) - 2))
    for step in range(number):
        spread = rng.uniform(0.5, 3, along)
        x = step + rng.standard_normal(along) + spread * rng.standard_normal(shape)
        yield x.astype(np.float32)


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


def test_small_variances_are_found_beside_the_start():
    """What the rounding of a stored number near 1 leaves of a variance of 1e-4: 3e-6, at most.

    Half a unit of the last place a step, 2^-25, adds up to 2^-25 / (1 - 0.99) at any number of
    steps; the weights of old and new, rounded to float32, add as much once.
    """
    layer, state = build(ours, "batch")
    x = (0.01 * np.random.default_rng(0).standard_normal((64, 3))).astype(np.float32)
    for step in range(300):
        _, state = batched(layer, x, state)
        if step in (0, 1, 3, 10, 30, 100, 299):
            y, _ = batched(layer, x, copied(state), inference=True)
            spread = np.asarray(y, np.float64).var(0)
            var = moments64(x)[1] / spread - 1e-5
            np.testing.assert_allclose(var, moments64(x)[1], rtol=1e-5, atol=6e-6)


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


@pytest.mark.parametrize("mode", MODES)
def test_large_means_are_exact(mode, rng):
    """A mean of 3000 times the spread: outputs and gradients are those of float64.

    In mode "ema" the second batch is by running statistics, and the gradient through them.
    """
    layer, state = build(ours, mode)
    first, x = (3000 + rng.standard_normal((2, 8, 3, 5))).astype(np.float32)
    target = rng.standard_normal(x.shape).astype(np.float32)
    _, state = batched(layer, first, state)

    def loss(x):
        y, _ = batched(layer, x, copied(state))
        return jnp.sum(y * target), y

    gradient, y = jax.grad(loss, has_aux=True)(x)
    moments = moments64(x)
    if mode == "ema":
        moments = [
            0.99 * old + 0.01 * new for old, new in zip(moments64(first), moments, strict=True)
        ]
    # What is stored of the mean is a float32, off by up to half a unit of 3000's last place.
    atol = 2e-4 if mode == "ema" else 3e-6
    np.testing.assert_allclose(y, normalized64(x, *moments), rtol=1e-6, atol=atol)

    share = 0.01 if mode == "ema" else 1.0  # of the batch in the statistics
    over = (0, 2)
    wide, dy = x.astype(np.float64), target.astype(np.float64)
    rstd = 1 / np.sqrt(moments[1] + 1e-5).reshape(-1, 1)
    own = wide - moments64(x)[0].reshape(-1, 1)
    deviation = wide - moments[0].reshape(-1, 1)
    along = (dy * deviation).mean(over, keepdims=True)
    expected = rstd * (dy - share * dy.mean(over, keepdims=True) - share * rstd**2 * own * along)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_input_keeps_its_type_and_exact_statistics(mode, dtype, rng):
    """Half input gives half output, rounded once, and statistics as exact as of float32.

    The framework's own promotes the output to float32, of statistics in the half type.
    """
    layer, state = build(ours, mode)
    x = jnp.asarray(5 + rng.standard_normal((64, 3, 9)), dtype)
    y, state = batched(layer, x, state)
    assert y.dtype == dtype
    mean, var = moments64(x)
    expected = normalized64(np.asarray(x, np.float64), mean, var)
    unit = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=0.51 * unit, atol=1e-5)
    stored_mean, stored_var, _ = statistics(layer, state)
    share = 1 if mode == "ema" else 0.01
    # 1 - 0.99 in float32 is off by 1e-6 of itself.
    np.testing.assert_allclose(stored_mean, share * mean, rtol=2e-6)
    np.testing.assert_allclose(stored_var, share * var + (1 - share), rtol=1e-6)
    evaluated, _ = batched(layer, x, state, inference=True)
    assert evaluated.dtype == dtype


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_statistics_of_a_half_type_stay_of_it(mode, dtype, rng):
    """With `dtype` a half type the state is of it, for input of any type."""
    layer, state = build(ours, mode, dtype=dtype)
    x = rng.standard_normal((64, 3)).astype(np.float32)
    y, moved = batched(layer, x, copied(state))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, normalized64(x, *moments64(x)), **CLOSE)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(moved), strict=True):
        assert one.dtype == other.dtype


@pytest.mark.parametrize("mode", MODES)
def test_integers_become_the_default_float(mode, rng):
    """Integers are normalized as numbers."""
    layer, state = build(ours, mode)
    x = rng.integers(-5, 6, (16, 3))
    y, _ = batched(layer, x, state)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, normalized64(x, *moments64(x)), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_one_element_teaches_nothing(mode, rng):
    """One element has no variance: the state stays as it was, and so does its counter."""
    layer, state = build(ours, mode)
    one = rng.standard_normal((1, 3)).astype(np.float32)
    y, kept = batched(layer, one, copied(state))
    np.testing.assert_array_equal(y, np.zeros((1, 3)))
    assert eqx.tree_equal(kept, state)
    x = next(batches(rng, (16, 3)))
    _, seen = batched(layer, x, state)
    y, kept = batched(layer, one, copied(seen))
    assert eqx.tree_equal(kept, seen)
    if mode == "ema":  # by the running statistics, as they are there
        np.testing.assert_allclose(y, normalized64(one, *moments64(x)), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_several_names_are_pooled(mode, rng):
    """`axis_name` may list several mapped axes: the batch is all of them."""
    x = rng.standard_normal((2, 4, 3, 5)).astype(np.float32)
    expected = normalized64(x.reshape(8, 3, 5), *moments64(x.reshape(8, 3, 5)))
    for names in (("i", "j"), ["j", "i"]):
        layer, state = eqx.nn.make_with_state(ours.BatchNorm)(3, names, mode=mode)
        axes = {"in_axes": (0, None), "out_axes": (0, None)}
        call = jax.vmap(jax.vmap(layer, axis_name="j", **axes), axis_name="i", **axes)
        y, state = call(x, state)
        np.testing.assert_allclose(y.reshape(expected.shape), expected, **CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_devices_are_pooled(mode, rng):
    """Under `shard_map` with a `vmap` inside, one batch is what all devices hold."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    layer, state = eqx.nn.make_with_state(ours.BatchNorm)(3, ("data", "batch"), mode=mode)
    arrays, static = eqx.partition(layer, eqx.is_array)
    x = next(batches(rng, (8, 3, 5)))

    def part(arrays, x, state):
        layer = eqx.combine(arrays, static)
        axes = {"in_axes": (0, None), "out_axes": (0, None)}
        return jax.vmap(layer, axis_name="batch", **axes)(x, state)

    split, whole = PartitionSpec("data"), PartitionSpec()
    run = jax.jit(
        jax.shard_map(
            part,
            mesh=mesh,
            in_specs=(whole, split, whole),
            out_specs=(split, whole),
            check_vma=False,
        )
    )
    y, moved = run(arrays, x, copied(state))
    np.testing.assert_allclose(y, normalized64(x, *moments64(x)), **CLOSE)
    one, _ = eqx.nn.make_with_state(ours.BatchNorm)(3, "batch", mode=mode)
    _, expected = batched(one, x, state)
    for found, there in zip(jax.tree.leaves(moved), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, there, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_complex_input_has_complex_statistics(mode, rng):
    """With `dtype=complex64` complex samples are normalized: by the mean absolute square."""
    layer, state = build(ours, mode, dtype=jnp.complex64, momentum=0.9)
    parts = rng.standard_normal((2, 2, 16, 3))
    first, x = (parts[0] + 1j * parts[1]).astype(np.complex64)
    _, state = batched(layer, first, state)
    y, state = batched(layer, x, state)
    moments = [(a.mean(0), (np.abs(a - a.mean(0)) ** 2).mean(0)) for a in (first, x)]
    mean, var = moments[1]
    if mode == "ema":
        mean, var = (0.9 * old + 0.1 * new for old, new in zip(*moments, strict=True))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-5, atol=1e-5)
    assert all(leaf.dtype in (jnp.complex64, jnp.int32, bool) for leaf in jax.tree.leaves(state))
    evaluated, _ = batched(layer, x, state, inference=True)
    assert evaluated.dtype == jnp.complex64
    if mode == "batch":
        mean, var = (np.average(pair, 0, [0.09, 0.1]) for pair in zip(*moments, strict=True))
    np.testing.assert_allclose(evaluated, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-4)


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
