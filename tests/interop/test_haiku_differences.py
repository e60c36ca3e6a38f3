"""Where our layers differ from Haiku's, with the numbers of `docs/interop-haiku.md`.

The errors are largest distances from the formula in float64. Those of Haiku are held to the factor
of two within which the page tells them: they are rounding, which another XLA may do otherwise.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import haiku as ours

RANDOM = np.random.default_rng(0)
BELL = RANDOM.standard_normal((64, 8))
IMAGES = RANDOM.standard_normal((3, 4, 4, 6)).astype(np.float32)
NONE = {"create_scale": False, "create_offset": False}
pytestmark = pytest.mark.usefixtures("standard_promotion")


def batch(module):
    return lambda x: module.BatchNorm(**NONE, decay_rate=0.9)(x, True)


def layer(module):
    return lambda x: module.LayerNorm(0, **NONE, param_axis=-1)(x)


def fast_layer(module):
    return lambda x: module.LayerNorm(0, **NONE, param_axis=-1, use_fast_variance=True)(x)


def rms(module):
    return lambda x: module.RMSNorm(0, create_scale=False)(x)


def group(axis, **keywords):
    return lambda module: lambda x: module.GroupNorm(2, axis, **NONE, **keywords)(x)


def over_first(x, centred=True):
    """Normalized over the first axis."""
    deviation = x - x.mean(0) if centred else x
    return deviation / np.sqrt((np.abs(deviation) ** 2).mean(0) + 1e-5)


def grouped(x):
    """Two groups of channels, which are last, over all axes but the first."""
    parts = x.reshape(3, -1, 2, 3)
    deviation = parts - parts.mean((1, 3), keepdims=True)
    y = deviation / np.sqrt((deviation**2).mean((1, 3), keepdims=True) + 1e-5)
    return y.reshape(x.shape)


COMPLEX = BELL[:32] + 1j * BELL[32:]
FIRST = np.moveaxis(IMAGES, -1, 1)
# Layer, input, dtype, the formula, Haiku's error (None for NaN), the bound of ours.
ERRORS = {
    "one pass, mean 100": (batch, BELL + 100, "float32", over_first, 5e-3, 1e-6),
    "one pass, mean 3000": (batch, BELL + 3000, "float32", over_first, None, 1e-6),
    "fast variance, mean 3000": (fast_layer, BELL + 3000, "float32", over_first, None, 1e-6),
    "two passes, mean 3000": (layer, BELL + 3000, "float32", over_first, 4e-4, 1e-6),
    "bfloat16 batch, mean 10": (batch, BELL + 10, "bfloat16", over_first, 1.2, 2**-7),
    "bfloat16 layer, mean 10": (layer, BELL + 10, "bfloat16", over_first, 0.04, 2**-7),
    "float16 batch of 300": (batch, 300 * BELL, "float16", over_first, 2.5, 2**-9),
    "float16 layer of 300": (layer, 300 * BELL, "float16", over_first, 2.5, 2**-9),
    "float16 RMS of 300": (
        rms,
        300 * BELL,
        "float16",
        lambda x: over_first(x, centred=False),
        2.5,
        2**-9,
    ),
    "group norm, negative axes": (group((-3, -2, -1)), IMAGES, "float32", grouped, 0.5, 1e-6),
    "group norm, negative axes, channels first": (
        group((-3, -2, -1), data_format="NCHW"),
        FIRST,
        "float32",
        lambda x: np.moveaxis(grouped(np.moveaxis(x, 1, -1)), -1, 1),
        0.5,
        1e-6,
    ),
    "complex batch": (batch, COMPLEX, "complex64", over_first, 5.0, 1e-6),
    "complex RMS": (rms, COMPLEX, "complex64", lambda x: over_first(x, centred=False), 5.0, 1e-6),
}


def outcome(function, x):
    """The output, the dtypes of the state and the state of a first training call."""
    network = hk.transform_with_state(function)
    parameters, state = network.init(jax.random.key(0), x)
    return network.apply(parameters, state, None, x)


def error_of(y, expected):
    wide = np.complex128 if np.iscomplexobj(expected) else np.float64
    return np.abs(np.asarray(y).astype(wide) - expected).max()


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    """Ours is within its bound of the formula; Haiku is off by what the page says."""
    build, numbers, dtype, formula, theirs, bound = ERRORS[name]
    x = jnp.asarray(numbers, dtype)
    wide = np.complex128 if np.iscomplexobj(numbers) else np.float64
    expected = formula(np.asarray(x).astype(wide))
    assert error_of(outcome(build(ours), x)[0], expected) <= bound
    found = error_of(outcome(build(hk), x)[0], expected)
    if theirs is None:
        assert np.isnan(found)
    else:
        assert theirs / 2 < found
        assert bound < found


def test_sizes_of_images():
    """A group norm that is called with another size: Haiku's gives another shape than it got."""

    def network(module):
        def run(one, two):
            layer = module.GroupNorm(2)
            return layer(one).shape, layer(two).shape

        shapes = []
        hk.transform(
            lambda: shapes.extend(run(jnp.ones((2, 4, 4, 6)), jnp.ones((2, 8, 8, 6))))
        ).init(None)
        return shapes

    assert network(ours) == [(2, 4, 4, 6), (2, 8, 8, 6)]
    assert network(hk) == [(2, 4, 4, 6), (8, 4, 4, 6)]


@pytest.mark.parametrize("build", [batch, layer])
def test_dtypes(build):
    """Half inputs and float32 parameters: our output is half, Haiku's float32."""

    def scaled(module):
        if build is batch:
            return lambda x: module.BatchNorm(True, True, 0.9)(x, True)
        return lambda x: module.LayerNorm(-1, True, True)(x)

    kinds = []
    for module in (ours, hk):
        network = hk.transform_with_state(scaled(module))
        parameters, state = network.init(None, BELL.astype(np.float32))
        y, _ = network.apply(parameters, state, None, jnp.asarray(BELL, jnp.bfloat16))
        kinds.append(y.dtype)
    assert kinds == [jnp.bfloat16, jnp.float32]


def test_batch_of_one():
    """After one batch of one, evaluation of x + 1 gives 316 in Haiku, and 1 in ours."""
    x = np.array([[5.0]], np.float32)
    found = []
    for module in (ours, hk):
        network = hk.transform_with_state(
            lambda x, training, m=module: m.BatchNorm(**NONE, decay_rate=0.9)(x, training)
        )
        _, state = network.init(None, x, True)
        _, state = network.apply({}, state, None, x, True)
        found.append(float(network.apply({}, state, None, x + 1, False)[0][0, 0]))
    np.testing.assert_allclose(found, [1.0, 316.2], rtol=1e-3)


def test_refused():
    """What Haiku takes in silence or cannot do: an axis that is not there, integers evaluated."""
    x = jnp.ones((2, 3, 4))
    y, _ = outcome(lambda x: hk.LayerNorm(5, **NONE, param_axis=-1)(x), x)  # reduces axis 2
    assert y.shape == x.shape
    with pytest.raises(ValueError, match="out of range"):
        outcome(lambda x: ours.LayerNorm(5, **NONE, param_axis=-1)(x), x)

    def evaluated(module):
        network = hk.transform_with_state(
            lambda x, training: module.BatchNorm(**NONE, decay_rate=0.9)(x, training)
        )
        numbers = np.arange(8, dtype=np.int32).reshape(4, 2)
        _, state = network.init(None, numbers, True)
        return network.apply({}, state, None, numbers, False)[0]

    with pytest.raises(TypeError, match="int"):
        evaluated(hk)
    np.testing.assert_allclose(evaluated(ours).mean(0), 0, atol=1e-6)
