"""RMS norm as families of models publish it, against their formulas (:mod:`.presets`).

Where the two differ it is by one unit in the last place: the library's mean square has a few digits
more than float32, so a number that is close to the middle of two neighbours is rounded to the other
one, once in thousands.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional, nn
from inox.kernels.cpu.library import library
from tests.functional.presets import HALVES, PRESETS, normalized, product
from tests.functional.programs import quick_jit
from tests.kernels.kernel_cases import kernels_in

ROWS, CHANNELS = 48, 512
DTYPES = (jnp.float32, *HALVES)


def name_of(dtype):
    return dtype.__name__


EACH_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=name_of)
EACH_SCALE = pytest.mark.parametrize("scale_dtype", DTYPES, ids=name_of)
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", [None, "xla"])
EACH_PRESET = pytest.mark.parametrize("preset", PRESETS)


def drawn(dtype, scale_dtype, offset=False, seed=0):
    """x in rows of several sizes, and a scale around 1 (or around 0)."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0.1, 1, (ROWS, CHANNELS)) * 2.0 ** generator.integers(-3, 4, (ROWS, 1))
    weight = generator.normal(0 if offset else 1, 0.3, CHANNELS)
    return x.astype(dtype), weight.astype(scale_dtype)


def units_apart(actual, expected):
    """How many neighbours apart two arrays are, element by element."""
    assert actual.dtype == expected.dtype
    integer = {2: np.int16, 4: np.int32}[actual.dtype.itemsize]
    sign = np.iinfo(integer).min
    ordered = [
        np.where(bits < 0, np.int64(sign) - bits, bits)
        for bits in (
            np.asarray(array).view(integer).astype(np.int64) for array in (actual, expected)
        )
    ]
    return np.abs(ordered[0] - ordered[1])


@IMPLEMENTATIONS
@EACH_SCALE
@EACH_DTYPE
@EACH_PRESET
def test_numbers_are_those_of_the_published_formula(preset, dtype, scale_dtype, implementation):
    """Half types: the same bits in all but a few of 1000 elements, and neighbours there."""
    formula, ours = PRESETS[preset]
    x, weight = drawn(dtype, scale_dtype, preset == "gemma")
    expected = formula(x, weight)
    actual = np.asarray(jax.jit(functools.partial(ours, implementation=implementation))(x, weight))
    assert actual.dtype == dtype
    if dtype == jnp.float32 and expected_rounding(preset, scale_dtype) is None:
        np.testing.assert_allclose(actual, expected, rtol=2e-6)
        return
    if dtype == jnp.float32:  # T5's half weights: a rounding inside, none of its kind at the end
        differ = ~np.isclose(actual, expected, rtol=1e-6)
        assert differ.mean() < 0.005
        half = float(jnp.finfo(scale_dtype).eps)
        np.testing.assert_allclose(actual, expected, rtol=half)
        return
    apart = units_apart(actual, expected)
    assert (apart > 0).mean() < 0.005
    # A neighbour before the scale may be two of them after it.
    assert apart.max() <= 2


def expected_rounding(preset, scale_dtype):
    """The half type that float32 input is rounded to inside, or None."""
    return scale_dtype if preset == "t5" and scale_dtype in HALVES else None


@pytest.mark.parametrize("dtype", HALVES, ids=name_of)
def test_presets_are_told_apart(dtype):
    """In half types the wrong one gives other bits in a good part of the elements."""
    x, weight = drawn(dtype, dtype)
    for one, other in (("llama", "olmo2"), ("olmo2", "llama"), ("llama", "gemma")):
        expected = PRESETS[one][0](x, weight)
        actual = np.asarray(PRESETS[other][1](x, weight))
        assert (actual != expected).mean() > 0.15


@pytest.mark.parametrize("dtype", HALVES, ids=name_of)
def test_layers_have_the_functions_numbers(dtype):
    """`RMSNorm` with the same arguments, whose dtype may be given by name or as a class."""
    x, weight = drawn(dtype, np.float32)
    expected = functional.rms_norm(x, weight, scale_offset=0.5, normalized_dtype=dtype)
    forms = (dtype, jnp.dtype(dtype), jnp.dtype(dtype).name)
    layers = [nn.RMSNorm(scale=weight, scale_offset=0.5, normalized_dtype=form) for form in forms]
    assert len({jax.tree.structure(layer) for layer in layers}) == 1
    for layer in layers:
        np.testing.assert_array_equal(jax.jit(lambda layer, x: layer(x))(layer, x), expected)


# ---- gradients


def of_formula(x, weight, dy, offset=0.0, rounded=None):
    """dx and dweight in float64 from the derivation: the rounding counts as the identity.

    y = R(xhat) (w + o): dw is the sum of dy R(xhat), and dx what dy (w + o) is pulled back to
    through xhat = x / sqrt(mean(x^2) + epsilon).
    """
    x, dy, weight = (np.asarray(a).astype(np.float64) for a in (x, dy, weight))
    root = np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-6)
    hat = x / root
    seen = hat if rounded is None else hat.astype(np.float32).astype(rounded).astype(np.float64)
    g = dy * (weight + offset)
    dx = g / root - x * np.mean(g * x, -1, keepdims=True) / root**3
    return dx, (dy * seen).sum(0), (np.abs(dy * seen)).sum(0)


@IMPLEMENTATIONS
@pytest.mark.parametrize("scale_dtype", [jnp.float32, jnp.bfloat16], ids=name_of)
@EACH_DTYPE
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("rounding", [None, "bfloat16", "float16"])
def test_gradients_are_those_of_the_derivation(
    rounding, offset, dtype, scale_dtype, implementation
):
    """In x as without the rounding, rounded once; in the scale with the rounded x."""
    x, weight = drawn(dtype, scale_dtype, offset == 1)
    dy = np.random.default_rng(1).normal(size=x.shape).astype(dtype)
    dx, dweight, size = of_formula(x, weight, dy, offset, rounding and jnp.dtype(rounding))

    @quick_jit
    def program(x, weight, dy):
        norm = functools.partial(
            functional.rms_norm,
            scale_offset=offset,
            normalized_dtype=rounding,
            implementation=implementation,
        )
        return jax.vjp(norm, x, weight)[1](dy)

    got_x, got_weight = program(x, weight, dy)
    assert (got_x.dtype, got_weight.dtype) == (dtype, scale_dtype)
    for actual, exact, scale in (
        (got_x, dx, np.abs(dx).max(-1, keepdims=True)),
        (got_weight, dweight, size),
    ):
        unit = float(jnp.finfo(actual.dtype).eps)
        # A few numbers in the middle of two neighbours are rounded to the other one inside.
        inside = 0 if rounding is None or actual is got_x else float(jnp.finfo(rounding).eps) / 16
        allowed = 0.5 * unit * np.abs(exact) + (4e-6 + inside) * scale
        smallest = float(jnp.finfo(actual.dtype).smallest_subnormal)
        error = np.abs(np.asarray(actual).astype(np.float64) - exact)
        assert (error <= allowed + smallest).all()


def test_the_gradient_in_the_scale_sees_the_rounded_x():
    """y is linear in the scale: its slope is the rounded x, and not the x before the rounding."""
    x = np.random.default_rng(0).normal(size=(1, CHANNELS)).astype(np.float32)
    one = np.ones(CHANNELS, np.float32)

    def norm(scale):
        return functional.rms_norm(x, scale, normalized_dtype=jnp.bfloat16)

    _, slope = jax.jvp(norm, (one,), (one,))
    np.testing.assert_array_equal(slope, norm(one))
    _, pullback = jax.vjp(norm, one)
    np.testing.assert_array_equal(pullback(one[None])[0], norm(one)[0])


def test_an_offset_takes_part_in_derivatives():
    """An array that is given to the function may be differentiated; a layer's takes no gradient."""
    x, weight = drawn(np.float32, np.float32, offset=True)

    def loss(offset):
        return functional.rms_norm(x, weight, scale_offset=offset).sum()

    expected = normalized(x).astype(np.float64).sum()
    np.testing.assert_allclose(jax.grad(loss)(np.float32(1)), expected, rtol=1e-5, atol=0.05)
    layer = nn.RMSNorm(scale=weight, scale_offset=jnp.float32(1))
    gradient = jax.grad(lambda layer: layer(x).sum())(layer)
    assert gradient.scale_offset == 0
    assert nn.is_parameter(layer).scale_offset is False


# ---- what runs


def compiled_text(program, *operands):
    return jax.jit(program).lower(*operands).compile().as_text()


@pytest.mark.skipif(not library().available, reason="the kernels are not in use")
@EACH_DTYPE
@EACH_PRESET
def test_presets_run_on_the_kernels(preset, dtype):
    """An offset costs no kernel, and a rounding one more for the gradient in the scale."""
    _, ours = PRESETS[preset]
    x, weight = drawn(dtype, dtype)
    assert kernels_in(compiled_text(ours, x, weight)) == {"inox_normalize": 1}

    def both(x, weight, dy):
        y, pullback = jax.vjp(ours, x, weight)
        return y, pullback(dy)

    found = kernels_in(compiled_text(both, x, weight, x))
    assert found["inox_normalize_cotangent"] == 1
    if preset in ("gemma", "olmo2"):
        assert found == {"inox_normalize": 1, "inox_normalize_cotangent": 1}


@pytest.mark.parametrize("dtype", HALVES, ids=name_of)
def test_a_rounding_to_the_statistics_dtype_costs_nothing(dtype):
    """T5 with float32 weights: the last rounding is coarser by far, and the only one."""
    x, weight = drawn(dtype, np.float32)
    plain = functional.rms_norm(x, weight)
    np.testing.assert_array_equal(
        functional.rms_norm(x, weight, normalized_dtype=jnp.float32), plain
    )


def test_the_rounding_stands_alone_without_a_scale():
    """float32 numbers that bfloat16 holds; masked elements are 0."""
    x, _ = drawn(np.float32, np.float32)
    where = np.random.default_rng(3).uniform(size=x.shape) < 0.7
    y = np.asarray(functional.rms_norm(x, normalized_dtype=jnp.bfloat16, where=where))
    np.testing.assert_array_equal(y, y.astype(jnp.bfloat16).astype(np.float32))
    assert not y[~where].any()
    assert y.dtype == np.float32


@IMPLEMENTATIONS
@EACH_DTYPE
def test_subnormal_numbers_are_rounded_to(dtype, implementation):
    """The small ones beside a large one, which float16 holds with fewer digits and not as 0."""
    x = np.full((2, 4096), 3e-4).astype(dtype)
    x[:, 0] = 900.0
    weight = np.full(4096, 1000).astype(dtype)
    hat = normalized(x).astype(np.float16)
    assert 0 < hat[0, 1] < np.finfo(np.float16).tiny
    norm = functools.partial(functional.rms_norm, normalized_dtype=np.float16)
    y = jax.jit(functools.partial(norm, implementation=implementation))(x, weight)
    np.testing.assert_array_equal(y, product(hat, weight, dtype))


@pytest.mark.usefixtures("x64")
def test_float64_is_rounded_to_float32():
    """Statistics, offset and product in float64; the normalized x alone in float32."""
    x, weight = (a.astype(np.float64) + 1e-9 for a in drawn(np.float32, np.float32))
    hat = (x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-6)).astype(np.float32)
    y = functional.rms_norm(x, weight, scale_offset=1e-3, normalized_dtype=np.float32)
    differ = ~np.isclose(y, hat.astype(np.float64) * (weight + 1e-3), rtol=1e-14)
    assert differ.mean() < 1e-3


def test_padding_reaches_nothing():
    """NaN in masked positions and in the scale of channels that are masked everywhere."""
    x, weight = drawn(jnp.bfloat16, np.float32)
    where = np.ones(x.shape, bool)
    where[:, :7] = False
    where[3] = False
    clean = np.where(where, x, 0).astype(x.dtype)
    spoiled = np.where(where, x, np.nan).astype(x.dtype)
    nan_weight = np.where(np.arange(CHANNELS) < 7, np.nan, weight).astype(np.float32)

    @jax.jit
    def program(x, weight):
        norm = functools.partial(
            functional.rms_norm, scale_offset=1.0, normalized_dtype=jnp.bfloat16, where=where
        )
        y, pullback = jax.vjp(norm, x, weight)
        return y, *pullback(jnp.ones_like(y))

    for actual, expected in zip(program(spoiled, nan_weight), program(clean, weight), strict=True):
        np.testing.assert_array_equal(actual, expected)
