"""What a state may hold: floating-point numbers, in training of 32 bits or more, var from 0 on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, check_message, example, run

from inox import calibration
from inox.functional import Moments
from inox.nn import BatchNorm, BatchRenorm, Statistics, export_state, update_state

LAYERS = {
    "batch": lambda **k: BatchNorm(4, **k),
    "batch_warmup": lambda **k: BatchNorm(4, warmup=True, **k),
    "batch_renorm": lambda **k: BatchRenorm(4, **k),
}
each = pytest.mark.parametrize("name", LAYERS)


def cast(state, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), state)


def attempts(layer, state):
    """A call as it is and as JAX traces it, and an update by moments."""
    moments = Moments(jnp.full(4, 30.0), jnp.full(4, 5.0), jnp.ones(4))
    yield lambda: layer(example(), state)
    yield lambda: jax.eval_shape(layer, example(), state)
    yield lambda: layer.update_running(state, moments)


@each
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_training_refuses_a_state_that_would_stand_still(name, dtype):
    """With momentum 0.999 and data of mean 5 a bfloat16 mean would stay near 0 for ever."""
    layer, state = export_state(LAYERS[name](momentum=0.999))
    for attempt in attempts(layer, cast(state, dtype)):
        with pytest.raises(TypeError) as error:
            attempt()
        check_message(error, "state", ".stats" if name == "batch" else ".", dtype.__name__)
        check_message(error, "stand still", "astype(jnp.float32)", "evaluation")
    # The cure of the message: the mean moves by its share.
    back = cast(cast(state, dtype), jnp.float32)
    _, after = layer(example() + 4, back)
    share = 1 if name == "batch_warmup" else 1000  # the first batch counts in full there
    expected = (example() + 4.0).mean((0, 1, 2)) / share
    np.testing.assert_allclose(after[layer.stats].mean, expected, rtol=1e-4)


def test_half_of_a_state_is_enough_to_stand_still():
    """One entry, the variance alone or the count of batches, is named as well as the whole."""
    layer, state = export_state(BatchNorm(4, warmup=True))
    mean, var = state[layer.stats]
    halves = [
        {layer.stats: Statistics(mean, var.astype(jnp.bfloat16))},
        {layer.stats: Statistics(mean.astype(jnp.float16), var)},
        {layer.batches: state[layer.batches].astype(jnp.float16)},
    ]
    for half in halves:
        with pytest.raises(TypeError, match="stand still") as error:
            layer(example(), update_state(state, half))
        check_message(error, str(next(iter(half))))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_pooling_refuses_it_too(dtype):
    """Moments pooled in a half type would stop counting: accumulate's calls tell."""
    layer, state = export_state(BatchNorm(4))
    pooling, pooled = calibration.accumulate(layer, state)
    with pytest.raises(TypeError, match="stand still"):
        pooling(example(), cast(pooled, dtype))
    for key in set(pooled) - set(state):
        with pytest.raises(TypeError, match="stand still"):
            pooling(example(), {**pooled, key: cast(pooled[key], dtype)})


@each
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_evaluation_takes_a_state_of_a_half_type(name, dtype):
    """What nobody moves can't stand still: the numbers are read as they are, and handed back."""
    layer, state = export_state(LAYERS[name](epsilon=1e-5))
    _, state = run(layer, state, example())
    half = cast(state, dtype)
    y, after = layer(example(), half, training=False)
    mean, var = (np.asarray(leaf, np.float64) for leaf in half[layer.stats])
    assert_close(y, (example() - mean) / np.sqrt(var + 1e-5))
    assert_same_bits(after, half)


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.bool_, np.complex64])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("field", ["mean", "var"])
def test_integers_and_complex_numbers_are_no_statistics(dtype, training, field):
    """In either mode: a mean of 0.1 would be 0 in integers."""
    layer, state = export_state(BatchNorm(4))
    wrong = state[layer.stats]._replace(**{field: np.ones(4, dtype)})
    for attempt in (layer, lambda x, s, **k: jax.eval_shape(lambda s: layer(x, s, **k), s)):
        with pytest.raises(TypeError) as error:
            attempt(example(), {layer.stats: wrong}, training=training)
        check_message(error, "state", ".stats", field[:3], np.dtype(dtype).name, "float")


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_a_negative_variance_is_refused_where_it_is_known(training, array):
    """Mean and variance were exchanged, for example; a traced call can't look."""
    layer, _ = export_state(BatchNorm(4))
    stats = Statistics(array(np.ones(4, np.float32)), array(np.array([1, 1, -0.5, 1], np.float32)))
    with pytest.raises(ValueError, match="negative") as error:
        layer(example(), {layer.stats: stats}, training=training)
    check_message(error, "state", ".stats", "variance", "-0.5", "mean, then variance")
    jax.eval_shape(layer, example(), {layer.stats: stats})
    nan = stats._replace(var=array(np.full(4, np.nan, np.float32)))  # a batch was not finite
    layer(example(), {layer.stats: nan}, training=training)


GOOD = {"count": np.full(4, 8.0, np.float32), "mean": np.ones(4, np.float32), "var": np.ones(4)}
GOOD["var"] = GOOD["var"].astype(np.float32)
WRONG = {
    "a_pair": ((np.ones(4), np.ones(4)), TypeError, ("moments", "Moments(count, mean, var)")),
    "statistics": (Statistics(np.ones(4), np.ones(4)), TypeError, ("moments", "Statistics")),
    "other_channels": (
        Moments(*(np.ones(3, np.float32),) * 3),
        ValueError,
        ("moments", "(4,)", "(3,)"),
    ),
    "kept_dimensions": (
        Moments(*(np.ones((1, 4), np.float32),) * 3),
        ValueError,
        ("moments", "(4,)", "(1, 4)"),
    ),
    "scalars": (Moments(8.0, 1.0, 1.0), ValueError, ("moments", "(4,)", "()")),
    "integer_mean": (
        Moments(**GOOD | {"mean": np.ones(4, np.int32)}),
        TypeError,
        ("moments", "mean", "int32"),
    ),
    "complex_variance": (
        Moments(**GOOD | {"var": np.ones(4, np.complex64)}),
        TypeError,
        ("moments", "variance", "complex64"),
    ),
    "boolean_count": (
        Moments(**GOOD | {"count": np.ones(4, bool)}),
        TypeError,
        ("moments", "count", "bool"),
    ),
    "negative_count": (
        Moments(**GOOD | {"count": np.array([8, -1, 8, 8], np.float32)}),
        ValueError,
        ("moments", "count", "-1"),
    ),
    "negative_variance": (
        Moments(**GOOD | {"var": np.array([1, 1, 1, -2], np.float32)}),
        ValueError,
        ("moments", "variance", "-2"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_moments_that_move_no_state_are_refused(name):
    """`update_running` refuses what is no batch's moments, and the state is as it was."""
    layer, state = export_state(BatchNorm(4))
    before = jax.tree.map(np.array, state)
    moments, kind, fragments = WRONG[name]
    with pytest.raises(kind) as error:
        layer.update_running(state, moments)
    check_message(error, *fragments)
    assert_same_bits(jax.tree.map(np.array, state), before)


@pytest.mark.parametrize("count", [np.full(4, 8), np.int32(8), 8, 8.0], ids=repr)
def test_a_count_may_be_an_integer_or_one_for_all(count):
    """Counts are whole numbers: they need not be floating-point, nor repeated for each channel."""
    layer, state = export_state(BatchNorm(4, momentum=0.5))
    moments = Moments(**GOOD | {"count": count})
    _, expected = layer.update_running(state, Moments(**GOOD)).popitem()
    _, found = layer.update_running(state, moments).popitem()
    assert_same_bits(found, expected)
