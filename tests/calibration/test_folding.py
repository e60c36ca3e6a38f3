"""`fold`: a map and a batch norm as one map, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.folding import fold
from inox.nn import BatchNorm, BatchRenorm, LayerNorm, Parameter, Statistics, export_state
from tests.calibration.networks import message_has, same_bits

CHANNELS = 4


def make_layer(kind=BatchNorm, **options):
    """A batch norm in evaluation mode with statistics, scale and bias that are not round."""
    random = np.random.default_rng(0)
    mean, scale, bias = (jnp.asarray(random.standard_normal(CHANNELS), jnp.float32) for _ in "123")
    var = jnp.asarray(random.uniform(0.1, 3, CHANNELS), jnp.float32)
    layer, state = export_state(kind(CHANNELS, **({"scale": scale, "bias": bias} | options)))
    layer.train(False)
    return layer, {**state, layer.stats: Statistics(mean, var)}


def normal(*shape, dtype=jnp.float32, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def convolve(kernel, bias, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    return y if bias is None else y + jnp.reshape(bias, (1, 1, 1, -1)).astype(y.dtype)


def linear(kernel, bias, x):
    y = x @ kernel
    return y if bias is None else y + jnp.reshape(bias, (1, -1)).astype(y.dtype)


def exact(layer, state, kernel, bias):
    """The folded kernel and bias in float64."""
    mean, var = (np.asarray(leaf, np.float64) for leaf in state[layer.stats])
    factor = np.asarray(layer.scale.value, np.float64) / np.sqrt(var + layer.epsilon)
    start = 0 if bias is None else np.asarray(bias, np.float64).reshape(-1)
    offset = (start - mean) * factor + np.asarray(layer.bias.value, np.float64)
    return np.asarray(kernel, np.float64) * factor, offset


@pytest.mark.parametrize("shape", [(3, CHANNELS), (3, 3, 2, CHANNELS)], ids=["linear", "conv"])
@pytest.mark.parametrize("kind", [BatchNorm, BatchRenorm])
def test_folded_arrays_and_outputs(shape, kind):
    """Kernel and bias are the formula's within 3 ulp, and the outputs agree, also with padding."""
    layer, state = make_layer(kind)
    apply = linear if len(shape) == 2 else convolve
    x = normal(5, 3) if len(shape) == 2 else normal(2, 6, 6, 2)
    kernel = normal(*shape, seed=2)
    for bias in (None, normal(CHANNELS, seed=3), normal(1, 1, CHANNELS, seed=3)):
        folded = fold(layer, state, kernel, bias, check=(apply, x), tolerance=2e-6)
        assert folded[0].shape == shape
        assert folded[1].shape == ((CHANNELS,) if bias is None else bias.shape)
        expected_kernel, expected_bias = exact(layer, state, kernel, bias)
        np.testing.assert_allclose(folded[0], expected_kernel, rtol=3 * 2.0**-23)
        found = np.asarray(folded[1]).reshape(-1)
        np.testing.assert_allclose(found, expected_bias, atol=4 * 2.0**-23, rtol=3 * 2.0**-23)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_kernels_are_rounded_once(dtype):
    """Computed in float32: within half a unit of the half dtype, and 1% of one more."""
    layer, state = make_layer()
    kernel, bias = normal(3, CHANNELS, dtype=dtype), normal(CHANNELS, dtype=dtype, seed=3)
    folded = fold(layer, state, kernel, bias)
    eps = float(jnp.finfo(dtype).eps)
    for found, expected in zip(folded, exact(layer, state, kernel, bias), strict=True):
        assert found.dtype == dtype
        unit = 2.0 ** np.floor(np.log2(np.abs(expected))) * eps
        error = np.abs(np.asarray(found, np.float64) - expected) / unit
        assert error.max() <= 0.51


def test_compiled_parameters_and_scalar_scales():
    """It works under jit, takes Parameters, and scales that are the same for all channels."""
    layer, state = make_layer(scale=jnp.float32(2.0), bias=jnp.full((1, CHANNELS), 0.5))
    kernel = normal(3, CHANNELS)
    folded = jax.jit(fold)(layer, state, Parameter(kernel), Parameter(normal(CHANNELS)))
    y = linear(kernel, normal(CHANNELS), normal(5, 3))
    np.testing.assert_allclose(linear(*folded, normal(5, 3)), layer(y, state)[0], atol=1e-5)


def by_layout(convolution, layout, **options):
    """A map `apply(kernel, bias, x)` by one of lax's convolutions, with a bias of any shape."""

    def apply(kernel, bias, x):
        y = convolution(x, kernel, (1, 1), "SAME", dimension_numbers=layout, **options)
        return y if bias is None else y + jnp.reshape(bias, (1, 1, 1, -1))

    return apply


FORWARD, TRANSPOSED = jax.lax.conv_general_dilated, jax.lax.conv_transpose
HWIO, OIHW = ("NHWC", "HWIO", "NHWC"), ("NHWC", "OIHW", "NHWC")
# Name, map, shape of the kernel, axis of output channels; CHANNELS in and out where it can be.
LAYOUTS = [
    ("conv", by_layout(FORWARD, HWIO), (3, 3, CHANNELS, CHANNELS), -1),
    ("conv_of_as_many_pixels", by_layout(FORWARD, HWIO), (CHANNELS, 3, CHANNELS, CHANNELS), 3),
    ("outputs_first", by_layout(FORWARD, OIHW), (CHANNELS, CHANNELS, 3, 3), 0),
    ("grouped", by_layout(FORWARD, HWIO, feature_group_count=2), (3, 3, 2, CHANNELS), -1),
    ("depthwise", by_layout(FORWARD, HWIO, feature_group_count=4), (3, 3, 1, CHANNELS), None),
    ("transposed", by_layout(TRANSPOSED, HWIO), (3, 3, CHANNELS, CHANNELS), -1),
    (
        "transpose_kernel",
        by_layout(TRANSPOSED, HWIO, transpose_kernel=True),
        (3, 3, CHANNELS, CHANNELS),
        -2,
    ),
    (
        "transpose_kernel_outputs_first",  # PyTorch's (I, C, H, W)
        by_layout(TRANSPOSED, OIHW, transpose_kernel=True),
        (CHANNELS, CHANNELS, 3, 3),
        1,
    ),
    ("matrix_first", lambda w, b, x: linear(w.T, b, x), (CHANNELS, CHANNELS), 0),
    ("matrix_last", linear, (CHANNELS, CHANNELS), None),
]


@pytest.mark.parametrize(
    ("apply", "shape", "axis"), [case[1:] for case in LAYOUTS], ids=[case[0] for case in LAYOUTS]
)
def test_every_layout_can_be_said(apply, shape, axis):
    """Folded along the axis that is told, the map alone gives what map and norm gave.

    Against the real map, with and without a bias, in whatever layout that comes.
    """
    layer, state = make_layer()
    kernel = normal(*shape, seed=2)
    x = normal(5, CHANNELS) if len(shape) == 2 else normal(2, 5, 5, CHANNELS)
    for bias in (None, normal(CHANNELS, seed=3), normal(CHANNELS, 1, 1, seed=3)):
        folded = fold(layer, state, kernel, bias, axis=axis)
        assert folded[0].shape == shape
        assert folded[1].shape == ((CHANNELS,) if bias is None else bias.shape)
        expected = np.asarray(layer(apply(kernel, bias, x), state)[0])
        np.testing.assert_allclose(apply(*folded, x), expected, atol=1e-5 * np.abs(expected).max())


def test_a_layout_that_cannot_be_told_is_refused():
    """A convolution's kernel as wide as it is deep needs its axis, or data to check it on.

    Along the wrong axis the map would be wrong by half, and its shape would not show it.
    """
    layer, state = make_layer()
    kernel, x = normal(3, 3, CHANNELS, CHANNELS), normal(2, 5, 5, CHANNELS)
    transposed = by_layout(TRANSPOSED, HWIO, transpose_kernel=True)
    expected = np.asarray(layer(transposed(kernel, None, x), state)[0])
    wrong = np.asarray(transposed(*fold(layer, state, kernel, axis=-1), x))
    assert np.abs(wrong - expected).max() > 0.5 * np.abs(expected).max()
    for shape in ((3, 3, CHANNELS, CHANNELS), (CHANNELS, CHANNELS, CHANNELS), (3, 4, 2, 4)):
        with pytest.raises(ValueError, match="more than one axis") as error:
            fold(layer, state, normal(*shape))
        message_has(error, str(shape), "axis=-1", "axis=-2", "transpose_kernel", "check=")
    with pytest.raises(ValueError, match="is exceeded"):
        fold(layer, state, kernel, check=(transposed, x), tolerance=1e-5)
    options = {"check": (transposed, x), "tolerance": 1e-5}
    right = fold(layer, state, kernel, axis=-2, **options)
    np.testing.assert_allclose(transposed(*right, x), expected, atol=1e-5 * np.abs(expected).max())
    plain = fold(layer, state, kernel, check=(convolve, x), tolerance=1e-5)
    same_bits(plain, fold(layer, state, kernel, axis=-1))
    # A single channel has one factor, whatever the axis.
    one, state = export_state(BatchNorm(1))
    one.train(False)
    assert fold(one, state, jnp.ones((3, 3, 1, 1)))[0].shape == (3, 3, 1, 1)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32, jnp.bool_])
def test_integers_are_refused(dtype):
    """A quantized kernel or bias has no room for the folded numbers, which are no integers."""
    layer, state = make_layer()
    kernel, bias = jnp.ones((3, CHANNELS), dtype), jnp.ones(CHANNELS, dtype)
    for arguments, name in (((kernel,), "kernel"), ((normal(3, CHANNELS), bias), "bias")):
        with pytest.raises(TypeError, match="floating-point") as error:
            fold(layer, state, *arguments)
        message_has(error, name, np.dtype(dtype).name, "then quantize", "astype")


def test_the_self_check_names_the_largest_deviation():
    """A map that isn't the kernel's is caught, with the deviation, its channel and the cure."""
    layer, state = make_layer()
    kernel, x = normal(3, CHANNELS), normal(5, 3)

    def activated(kernel, bias, x):  # something stands between the map and the norm
        y = linear(kernel, bias, x)
        return y.at[:, 2].set(jnp.abs(y[:, 2]))

    with pytest.raises(ValueError, match=r"tolerance 1e-05 is exceeded") as error:
        fold(layer, state, kernel, check=(activated, x), tolerance=1e-5)
    message_has(error, "channel 2")
    plain = np.asarray(layer(activated(kernel, None, x), state)[0], np.float64)
    wrong = np.asarray(activated(*fold(layer, state, kernel), x), np.float64)
    deviation = np.abs(wrong - plain).max() / np.abs(plain).max()
    message_has(error, f"up to {deviation:.3g} of")
    bad = {**state, layer.stats: Statistics(jnp.full(CHANNELS, jnp.nan), jnp.ones(CHANNELS))}
    with pytest.raises(ValueError, match="exceeded"):
        fold(layer, bad, kernel, check=(linear, x), tolerance=1e-5)


def test_the_self_check_looks_where_the_layer_has_its_channels():
    """With `channel_axis=1`, `apply` gives channels first, and the worst one is named."""
    layer, state = export_state(BatchNorm(3, channel_axis=1, scale=normal(3, seed=4)))
    layer.train(False)
    kernel, x = normal(2, 3), normal(4, 2, 5)

    def first(kernel, bias, x):
        y = jnp.einsum("nil,io->nol", x, kernel)
        return y if bias is None else y + bias[None, :, None]

    def spoiled(kernel, bias, x):
        return jnp.square(first(kernel, bias, x)) * jnp.array([1.0, 100.0, 1.0])[None, :, None]

    def last(kernel, bias, x):
        return jnp.moveaxis(first(kernel, bias, x), 1, 2)

    fold(layer, state, kernel, check=(first, x), tolerance=1e-5)
    with pytest.raises(ValueError, match="channel 1"):
        fold(layer, state, kernel, check=(spoiled, x), tolerance=1e-5)
    with pytest.raises(ValueError, match="x must have 3 channels along axis 1"):
        fold(layer, state, kernel, check=(last, x), tolerance=1e-5)


def test_mistakes_are_told():
    """Each mistake has a message with the cure."""
    layer, state = make_layer()
    kernel = normal(3, CHANNELS)
    for arguments, options, match in (
        ((kernel.T,), {}, "output channels last"),
        ((kernel[0],), {}, "an axis"),
        ((kernel, jnp.zeros(3)), {}, "bias must have one value"),
        ((kernel, jnp.zeros((5, CHANNELS))), {}, "bias must have one value"),
        ((kernel,), {"tolerance": 1e-5}, "belong together"),
        ((kernel,), {"check": (linear, kernel)}, "belong together"),
        ((kernel,), {"axis": 0}, "axis=0"),
        ((kernel,), {"axis": 2}, "axis 2 is out of range"),
    ):
        with pytest.raises(ValueError, match=match):
            fold(layer, state, *arguments, **options)
    x = normal(5, 3)
    for check, tolerance, kind, match in (
        (linear, 1e-5, TypeError, "check must be a pair"),
        ((x, linear), 1e-5, TypeError, "check must be a pair"),
        ((linear, x), -1e-5, ValueError, "tolerance must be a finite number"),
        ((linear, x), np.nan, ValueError, "tolerance must be a finite number"),
        ((linear, x), "1e-5", TypeError, "tolerance must be a number"),
        ((linear, x), True, TypeError, "tolerance must be a number"),
    ):
        with pytest.raises(kind, match=match):
            fold(layer, state, kernel, check=check, tolerance=tolerance)
    for axis in (True, "last", 1.0, (0, 1)):
        with pytest.raises(TypeError, match="axis must be one integer"):
            fold(layer, state, kernel, axis=axis)
    same_bits(
        fold(layer, state, kernel, check=(linear, x), tolerance=np.float32(1e-5)),
        fold(layer, state, kernel, axis=np.int64(1)),
    )
    with pytest.raises(TypeError, match=r"under jax\.jit"):
        jax.jit(lambda x: fold(layer, state, kernel, check=(linear, {"x": x}), tolerance=1))(x)
    with pytest.raises(TypeError, match=r"under jax\.jit"):
        jax.jit(lambda kernel: fold(layer, state, kernel, check=(linear, x), tolerance=1))(kernel)
    with pytest.raises(TypeError, match="must be a batch norm"):
        fold(LayerNorm(), state, kernel)
    wide, state = make_layer(scale=jnp.ones((7, CHANNELS)))
    with pytest.raises(ValueError, match="more than its 4 channels"):
        fold(wide, state, kernel)
    layer.train()
    with pytest.raises(ValueError, match=r"layer\.train\(False\)"):
        fold(layer, state, kernel)
