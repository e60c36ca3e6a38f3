"""Haiku's layers against the formulas in float64 NumPy, in every dtype and layout."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import haiku as ours
from tests.interop.haiku_cases import LAYERS, SHAPE, example, is_batch, random_like, transformed

# Haiku's own moving average needs JAX's usual promotion.
pytestmark = pytest.mark.usefixtures("standard_promotion")
# One rounding to a half type; float32 is computed in float32 or float64 from values below 3010:
# the deviation from a mean is exact to a unit of 6e-8 of what stands there.
BOUNDS = {"float32": 4e-6, "bfloat16": 2**-8, "float16": 2**-11}


def axes_of(name):
    """The reduced axes, the groups of channels and the axis of the channels, told by hand."""
    cls, arguments = LAYERS[name]
    channels = 1 if arguments.get("data_format") in ("channels_first", "NCHW") else 3
    axis = arguments.get("axis")
    if cls == "BatchNorm":
        axes = axis or [i for i in range(4) if i != channels]
    elif cls == "InstanceNorm":
        axes = (2, 3) if channels == 1 else (1, 2)
    else:
        axis = slice(1, None) if axis is None else axis
        axes = range(4)[axis] if isinstance(axis, slice) else np.ravel(axis)
    return tuple(int(a) % 4 for a in axes), arguments.get("groups"), channels


def formula(name, x, parameters):
    """The output in float64."""
    axes, groups, channels = axes_of(name)
    cls, arguments = LAYERS[name]
    x = np.asarray(x).astype(np.float64)
    eps = arguments.get("eps", 1e-5)
    array = x
    if groups is not None and channels in axes:
        split = (*SHAPE[:channels], groups, SHAPE[channels] // groups, *SHAPE[channels + 1 :])
        array = x.reshape(split)
        axes = tuple(a + (a >= channels) for a in axes)
    mean = 0 if cls == "RMSNorm" else array.mean(axes, keepdims=True)
    y = (array - mean) / np.sqrt(((array - mean) ** 2).mean(axes, keepdims=True) + eps)
    scale, offset = (
        np.asarray(parameters.get(key, default)).astype(np.float64)
        for key, default in (("scale", 1.0), ("offset", 0.0))
    )
    return y.reshape(x.shape) * scale + offset


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", LAYERS)
def test_outputs(name, dtype):
    """Every layer computes the formula to one rounding, also where the mean is large."""
    mean = 3000.0 if dtype == "float32" else 30.0
    x = jnp.asarray(example(name, np.float64, mean), dtype)
    network = transformed(ours, name)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    parameters = random_like(shapes[0])
    inner = next(iter(parameters.values()), {})

    @jax.jit
    def run(parameters, x):
        _, state = network.init(jax.random.key(0), x)
        return network.apply(parameters, state, None, x)[0]

    y = run(parameters, x)
    assert y.dtype == x.dtype
    expected = formula(name, x, inner)
    error = np.abs(np.asarray(y).astype(np.float64) - expected)
    assert (error <= BOUNDS[dtype] * (1 + np.abs(expected))).all(), error.max()


@pytest.mark.parametrize("name", ["batch_first", "layer_axes", "rms_axes", "group_first_axes"])
def test_double_precision(name, x64):
    """Float64 stays float64 throughout, parameters and state as well."""
    x = example(name, np.float64, 3000.0)
    network = transformed(ours, name)
    parameters, state = network.init(jax.random.key(0), x)
    assert all(leaf.dtype in ("float64", "int32") for leaf in jax.tree.leaves((parameters, state)))
    parameters = random_like(parameters)
    y, _ = network.apply(parameters, state, None, x)
    inner = next(iter(parameters.values()))
    np.testing.assert_allclose(y, formula(name, x, inner), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LAYERS if is_batch(name)])
def test_running_statistics(name):
    """The state is the debiased average of batch moments, and evaluation goes by it."""
    axes, _, _ = axes_of(name)
    network = transformed(ours, name)
    batches = [example(f"{name}{t}", mean=100.0 * t) for t in range(4)]
    parameters, state = network.init(jax.random.key(0), batches[0])
    step = jax.jit(lambda state, x: network.apply(parameters, state, None, x)[1])
    mean = var = 0.0
    for t, x in enumerate(batches, 1):
        state = step(state, x)
        wide = x.astype(np.float64)
        mean = 0.9 * mean + 0.1 * wide.mean(axes, keepdims=True)
        var = 0.9 * var + 0.1 * wide.var(axes, keepdims=True)
        for key, value in (("mean", mean), ("var", var)):
            found = state[f"batch_norm/~/{key}_ema"]
            assert found["counter"] == t
            np.testing.assert_allclose(found["hidden"], value, rtol=1e-5)
            np.testing.assert_allclose(found["average"], value / (1 - 0.9**t), rtol=1e-5)
    mean, var = mean / (1 - 0.9**4), var / (1 - 0.9**4)
    y, _ = network.apply(parameters, state, None, batches[0], False)
    expected = (batches[0] - mean) / np.sqrt(var + LAYERS[name][1].get("eps", 1e-5))
    # The averages err by a few units of the last place of numbers of some hundred.
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("first", [False, True])
def test_scale_and_offset_at_the_call(first):
    """What a conditional norm computes from elsewhere is multiplied and added, as it broadcasts."""
    x = example("call")
    shape = (5, 1, 1) if first else (8,)
    scale, offset = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    per_sample = scale * np.arange(1.0, 5.0, dtype=np.float32)[:, None, None, None]
    none = {"create_scale": False, "create_offset": False}
    layout = {"data_format": "channels_first" if first else "channels_last"}

    def network(scale, offset, x):
        batch = ours.BatchNorm(**none, **layout, decay_rate=0.9)
        instance = ours.InstanceNorm(**none, **layout)
        group = ours.GroupNorm(5 if first else 4, **none, **layout)
        return (
            batch(x, True, scale=scale, offset=offset) - batch(x, True) * scale,
            batch(x, False, True, scale, offset) - batch(x, False, True) * scale,
            instance(x, scale, offset) - instance(x) * scale,
            group(x, scale, offset) - group(x) * scale,
        )

    for given in (scale, per_sample):
        f = hk.transform_with_state(network)
        parameters, state = f.init(None, given, offset, x)
        assert not parameters
        found, _ = f.apply(parameters, state, None, given, offset, x)
        for difference in found:
            np.testing.assert_allclose(difference, np.broadcast_to(offset, SHAPE), atol=3e-6)


def test_integers():
    """Integers are normalized as floating-point numbers, in evaluation, too."""
    x = np.random.default_rng(0).integers(0, 9, (32, 4))
    network = hk.transform_with_state(
        lambda x, training: ours.BatchNorm(True, True, 0.9)(x, training)
    )
    parameters, state = network.init(None, x, True)
    assert parameters["batch_norm"]["scale"].dtype == jnp.float32
    y, state = network.apply(parameters, state, None, x, True)
    z, _ = network.apply(parameters, state, None, x, False)
    expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", ["BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm"])
def test_complex_numbers(cls):
    """The variance of complex numbers is the mean of squared distances from their mean."""
    random = np.random.default_rng(0)
    x = (random.standard_normal((16, 4)) + 1j * random.standard_normal((16, 4)) + 2).astype(
        np.complex64
    )
    none = {"create_scale": False, "create_offset": False}
    layers = {
        "BatchNorm": lambda x: ours.BatchNorm(**none, decay_rate=0.9)(x, True),
        "LayerNorm": lambda x: ours.LayerNorm(0, **none, param_axis=-1)(x),
        "RMSNorm": lambda x: ours.RMSNorm(0, create_scale=False)(x),
        "GroupNorm": lambda x: ours.GroupNorm(2, slice(0, None), **none)(x),
    }
    network = hk.transform_with_state(layers[cls])
    y, _ = network.apply(*network.init(None, x), None, x)
    array = x.reshape(16, 2, 2) if cls == "GroupNorm" else x
    axes = (0, 2) if cls == "GroupNorm" else (0,)
    mean = 0 if cls == "RMSNorm" else array.mean(axes, keepdims=True)
    deviation = np.sqrt((np.abs(array - mean) ** 2).mean(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, ((array - mean) / deviation).reshape(x.shape), atol=1e-6)


def test_axes_that_are_empty():
    """With nothing to reduce, an element is its own mean; Haiku's answers are the same."""
    x = example("empty")[0, 0]
    network = hk.transform(
        lambda x: (ours.InstanceNorm(True, True)(x), ours.RMSNorm(slice(1, -1))(x))
    )
    zero, one = network.apply(network.init(None, x), None, x)
    assert not zero.any()
    np.testing.assert_allclose(one, x / np.sqrt(x**2 + 1e-5), rtol=1e-6)
    assert zero.shape == x.shape
