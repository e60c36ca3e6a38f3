"""Layers of Keras, trained for a few steps, and the layers of ours that were loaded from them."""

import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import layers

from inox.interop.keras import dump, load
from inox.nn import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, export_state
from tests.interop.keras_layers import IMAGES, TOKENS, C, arrays, batch_norm, bound

# Keras makes NumPy arrays of its variables in a way that NumPy warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# The layer of Keras, the shape of one sample, the same layer of ours.
CASES = {
    "BatchNormalization": (
        lambda: layers.BatchNormalization(),
        IMAGES,
        lambda: batch_norm(**arrays()),
    ),
    "BatchNormalization of rows": (
        lambda: layers.BatchNormalization(epsilon=1e-5, momentum=0.5),
        (C,),
        lambda: BatchNorm(C, epsilon=1e-5, momentum=0.5, **arrays()),
    ),
    "BatchNormalization without scale": (
        lambda: layers.BatchNormalization(scale=False),
        IMAGES,
        lambda: batch_norm(**arrays(scale=False)),
    ),
    "BatchNormalization without center": (
        lambda: layers.BatchNormalization(center=False),
        IMAGES,
        lambda: batch_norm(**arrays(bias=False)),
    ),
    "BatchNormalization of neither": (
        lambda: layers.BatchNormalization(center=False, scale=False),
        IMAGES,
        batch_norm,
    ),
    "LayerNormalization": (
        lambda: layers.LayerNormalization(),
        TOKENS,
        lambda: LayerNorm(epsilon=1e-3, **arrays()),
    ),
    "LayerNormalization of two axes": (
        lambda: layers.LayerNormalization(axis=[-2, -1]),
        TOKENS,
        lambda: LayerNorm((-2, -1), epsilon=1e-3, **arrays(TOKENS)),
    ),
    "LayerNormalization without center": (
        lambda: layers.LayerNormalization(center=False),
        TOKENS,
        lambda: LayerNorm(epsilon=1e-3, **arrays(bias=False)),
    ),
    "GroupNormalization": (
        lambda: layers.GroupNormalization(3),
        IMAGES,
        lambda: GroupNorm(3, epsilon=1e-3, axis=(-3, -2, -1), **arrays()),
    ),
    "GroupNormalization of single channels": (
        lambda: layers.GroupNormalization(-1),
        IMAGES,
        lambda: InstanceNorm(epsilon=1e-3, **arrays()),
    ),
    "RMSNormalization": (
        lambda: layers.RMSNormalization(),
        TOKENS,
        lambda: RMSNorm(**arrays(bias=False)),
    ),
}


def trained(name, dtype="float32"):
    """A Keras layer whose arrays are none of the initial ones."""
    build, shape, ours = CASES[name]
    generator = np.random.default_rng(7)
    layer = build()
    if dtype != "float32":
        layer = type(layer).from_config(layer.get_config() | {"dtype": dtype})
    layer.build((None, *shape))
    ramp = np.arange(C, dtype=np.float32)
    for variable in layer.trainable_variables:
        variable.assign(generator.normal(0.5, 1, variable.shape))
    for _ in range(3):
        x = generator.standard_normal((8, *shape), np.float32) * (1 + ramp) + ramp
        layer(keras.ops.cast(x, dtype), training=True)
    return layer, ours, x


def evaluated(layer, state, x):
    if isinstance(layer, BatchNorm):
        return np.asarray(layer(x, state, training=False)[0])
    return np.asarray(layer(x))


@pytest.mark.parametrize(
    "source",
    [
        lambda layer: layer,
        lambda layer: layer.get_weights(),
        lambda layer: tuple(layer.weights),
        lambda layer: {f"vars/{i}": value for i, value in enumerate(layer.get_weights())},
    ],
    ids=["layer", "arrays", "variables", "mapping"],
)
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", CASES)
def test_evaluates_as_keras_does(name, source):
    """In evaluation mode, whether the layer is given or its arrays alone."""
    other, ours, x = trained(name)
    layer, state = load(*export_state(ours()), source(other))
    theirs = np.asarray(other(x, training=False))
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(evaluated(layer, state, x), theirs, rtol=0, atol=bound(theirs))


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["BatchNormalization", "LayerNormalization", "RMSNormalization"])
def test_goes_back_to_the_bit(name, dtype):
    """What a layer dumps, `set_weights` takes, in the order of Keras."""
    other, ours, _ = trained(name, dtype)
    layer, state = load(*export_state(ours()), other.get_weights())
    if isinstance(layer, BatchNorm):
        assert state[layer.stats].var.dtype == jnp.float32
    again = CASES[name][0]()
    again = type(again).from_config(again.get_config() | {"dtype": dtype})
    again.build((None, *CASES[name][1]))
    again.set_weights(list(dump(layer, state).values()))
    for new, old in zip(again.get_weights(), other.get_weights(), strict=True):
        assert new.dtype == old.dtype == jnp.dtype(dtype)
        np.testing.assert_array_equal(new, old)


@pytest.mark.usefixtures("standard_promotion")
def test_training_goes_on_as_in_keras():
    """Momentum and running variance mean the same: after five more steps they still agree."""
    other, ours, x = trained("BatchNormalization of rows")
    layer, state = load(*export_state(ours()), other)
    for step in range(5):
        other(x + step, training=True)
        _, state = layer(x + np.float32(step), state, training=True)
    mean, var = state[layer.stats]
    np.testing.assert_allclose(mean, other.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(var, other.moving_variance, rtol=1e-5)


# A Keras layer, a layer of ours with its state; what kind of error, words of the message.
REFUSED = {
    "epsilon": (
        lambda: layers.BatchNormalization(),
        lambda: export_state(BatchNorm(C, momentum=0.99, **arrays())),
        ValueError,
        ["epsilon", "0.001", "1e-05"],
    ),
    "momentum": (
        lambda: layers.BatchNormalization(),
        lambda: export_state(BatchNorm(C, epsilon=1e-3, **arrays())),
        ValueError,
        ["momentum", "0.99", "0.9"],
    ),
    "groups": (
        lambda: layers.GroupNormalization(2),
        lambda: (GroupNorm(3, epsilon=1e-3, **arrays()), {}),
        ValueError,
        ["groups", "2", "3"],
    ),
    "groups of several channels": (
        lambda: layers.GroupNormalization(2),
        lambda: (InstanceNorm(epsilon=1e-3, **arrays()), {}),
        TypeError,
        ["a GroupNorm", "2 groups of 6 channels"],
    ),
    "another layer": (
        lambda: layers.GroupNormalization(2),
        lambda: (LayerNorm(epsilon=1e-3, **arrays()), {}),
        TypeError,
        ["a GroupNorm or InstanceNorm", "GroupNormalization", "LayerNorm"],
    ),
    "none of ours": (
        lambda: layers.UnitNormalization(),
        lambda: (LayerNorm(), {}),
        TypeError,
        ["UnitNormalization", "no layer of inox.nn"],
    ),
    "a bias for a scale": (
        lambda: layers.BatchNormalization(center=False),
        lambda: export_state(batch_norm(**arrays(scale=False))),
        ValueError,
        ["lacks 'beta'", "has 'gamma'"],
    ),
    "a count": (
        lambda: layers.BatchNormalization(),
        lambda: export_state(batch_norm(warmup=True, **arrays())),
        ValueError,
        ["count", "without warmup"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_settings_are_refused(case):
    """Epsilon, momentum, groups and the kind of a Keras layer must be those of ours."""
    build, make, kind, words = REFUSED[case]
    other = build()
    other.build((None, *IMAGES))
    layer, state = make()
    with pytest.raises(kind, match=words[0]) as raised:
        load(layer, state, other)
    assert [word for word in words if word not in str(raised.value)] == []


def test_an_offset_of_the_scale_is_refused():
    """Keras' RMS norm multiplies by the scale itself, where a layer may add a number to it."""
    other = layers.RMSNormalization()
    other.build((None, *TOKENS))
    layer = RMSNorm(**arrays(bias=False))
    load(layer, {}, other)
    layer.scale_offset = 1.0
    with pytest.raises(ValueError, match=r"scale_offset of the layer must be 0.* found 1"):
        load(layer, {}, other)


def test_models_are_refused():
    """A model has arrays of one name in several layers, and may hide the settings of one."""
    layer, state = export_state(batch_norm(**arrays()))
    for count in (1, 2):
        norms = [layers.BatchNormalization() for _ in range(count)]
        model = keras.Sequential([keras.Input(IMAGES), *norms])
        with pytest.raises(ValueError, match=r"weights must be one layer; found Sequential"):
            load(layer, state, model)


def test_refused_lists():
    """A list that is too short, too long or of other shapes; a layer that is not built."""
    layer, state = export_state(batch_norm(**arrays()))
    ones = np.ones(C, np.float32)
    with pytest.raises(ValueError, match=r"weights lacks 'vars/3', which the layer has"):
        load(layer, state, [ones] * 3)
    with pytest.raises(ValueError, match=r"weights has 'vars/4', for which the layer has no use"):
        load(layer, state, [ones] * 5)
    with pytest.raises(ValueError, match=r"weights\['vars/2'\] must have the shape .*channels=3"):
        load(layer, state, [ones, ones, ones[:3], ones])
    with pytest.raises(ValueError, match=r"weights\['vars/3'\] has a variance of -1"):
        load(layer, state, [ones, ones, ones, -ones])
    with pytest.raises(TypeError, match=r"weights\['vars/0'\] is float64"):
        load(layer, state, [np.ones(C), ones, ones, ones])
    with pytest.raises(ValueError, match=r"prefix must be '' where weights is one layer"):
        load(layer, state, [ones] * 4, "layers/batch_normalization")
    with pytest.raises(ValueError, match=r"weights must be a layer that is built"):
        load(layer, state, layers.BatchNormalization())
    with pytest.raises(TypeError, match=r"weights must be the path .*found int"):
        load(layer, state, 3)
    with pytest.raises(TypeError, match=r"prefix must be a string; found int"):
        load(layer, state, [ones] * 4, 3)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [(LayerNorm, layers.LayerNormalization), (RMSNorm, layers.RMSNormalization)],
)
def test_as_many_axes_as_the_keras_layer(kind, theirs):
    """A layer over two axes is none of Keras' over one, though its arrays may fit."""
    other = theirs(epsilon=1e-3)
    other.build((2, 4, C))
    layer = kind((-2, -1), epsilon=1e-3, **arrays(bias=kind is LayerNorm))
    with pytest.raises(ValueError, match="axis of the layer must be 1 axes"):
        load(layer, {}, other)
