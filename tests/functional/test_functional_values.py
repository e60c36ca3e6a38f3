"""Values and gradients of every operation against the float64 oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from tests import oracle
from tests.functional.closeness import assert_all_close, assert_close
from tests.functional.programs import check_against_oracle, quick_jit
from tests.registry import OPERATIONS

EVERY_LAYOUT = [(operation, layout) for operation in OPERATIONS for layout in operation.layouts]
SCALED = pytest.mark.parametrize(
    "operation", [one for one in OPERATIONS if "scale" in one.arrays], ids=str
)
HALVES = [jnp.float16, jnp.bfloat16]


@pytest.mark.parametrize(("operation", "layout"), EVERY_LAYOUT, ids=str)
def test_float32_over_every_layout(operation, layout):
    """Results, and gradients in every array, over shapes, axes and groups."""
    jit = jax.jit if layout in operation.layouts[:2] else quick_jit
    check_against_oracle(operation, layout, np.float32, jit=jit)


@pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_half_types_round_once(operation, dtype):
    """Half an ulp of the half type: statistics, affine map and parameters are in float32."""
    check_against_oracle(operation, operation.layouts[1], dtype, parameter_dtype=np.float32)


@SCALED
def test_half_parameters(operation):
    """Parameters in the half type of x: their gradients come back in it, rounded once."""
    check_against_oracle(operation, operation.layouts[0], jnp.bfloat16, jit=quick_jit)


@SCALED
def test_half_parameters_of_a_float32_input(operation):
    """A scale and a bias narrower than x don't narrow y."""
    check_against_oracle(operation, operation.layouts[0], np.float32, jnp.bfloat16, quick_jit)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_float64(operation):
    """Statistics of float64 input are float64: errors of some 1e-15, with parameters in float32."""
    check_against_oracle(operation, operation.layouts[1], np.float64, parameter_dtype=np.float32)


@pytest.mark.usefixtures("x64")
@SCALED
def test_float64_parameters_of_a_float32_input(operation):
    """A scale wider than x doesn't widen y."""
    check_against_oracle(operation, operation.layouts[0], np.float32, np.float64, quick_jit)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.bool_], ids=lambda dtype: dtype.__name__)
def test_integers_and_booleans_promote_to_the_default_float(dtype):
    """As in `jax.numpy`: no truncation, float32 results."""
    generator = np.random.default_rng(0)
    for operation in OPERATIONS:
        layout = operation.layouts[0]
        arrays = operation.draw(layout, np.float32)
        arrays["x"] = generator.integers(0, 2 if dtype == np.bool_ else 100, layout.shape).astype(
            dtype
        )
        results = quick_jit(functools.partial(operation.call, where=None, **layout.static))(arrays)
        exact = operation.reference(layout).evaluate(oracle.as_float64(arrays))
        for name in operation.results:
            assert results[name].dtype == np.float32
            assert_close(results[name], exact[name], f"{operation} {name}")


@pytest.mark.usefixtures("x64")
def test_integers_promote_to_float64_where_that_is_the_default():
    """With 64-bit types on, the default float is float64."""
    x = np.random.default_rng(0).integers(-50, 50, (4, 6))
    y = functional.layer_norm(x)
    exact = x - x.mean(-1, keepdims=True)
    exact = exact / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    assert y.dtype == np.float64
    assert_close(y, exact)


def test_numpy_input_and_lists_of_axes():
    """NumPy arrays are taken as they are; an int, a tuple and a list of one mean the same."""
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    results = [functional.layer_norm(x, axis=axis) for axis in (-1, 1, (1,), [-1], np.int64(1))]
    for y in results:
        assert isinstance(y, jax.Array)
        np.testing.assert_array_equal(y, results[0])


def test_default_epsilons_are_the_documented_ones():
    """1e-5, and 1e-6 for RMS norm, seen on rows so small that epsilon dominates."""
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32) * np.float32(1e-3)
    rows, columns = oracle.slices(x.shape, -1), oracle.slices(x.shape, 0)
    exact = {}
    for name, positions, centred, epsilon in (
        ("standardize", rows, True, 1e-5),
        ("layer_norm", rows, True, 1e-5),
        ("rms_norm", rows, False, 1e-6),
        ("group_norm", rows, True, 1e-5),
        ("batch_norm", columns, True, 1e-5),
    ):
        arrays = {"x": x.astype(np.float64), "epsilon": np.float64(epsilon)}
        exact[name] = oracle.Normalization(positions, centred).evaluate(arrays)["y"]
    results = {
        "standardize": functional.standardize(x),
        "layer_norm": functional.layer_norm(x),
        "rms_norm": functional.rms_norm(x),
        "group_norm": functional.group_norm(x, 1),
        "batch_norm": functional.batch_norm(x)[0],
    }
    assert_all_close(results, exact)


def test_a_scale_or_a_bias_alone():
    """Either may be left out, and has the value it would have as ones or zeros."""
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    scale, bias = (
        np.linspace(0.5, 1.5, 6, dtype=np.float32),
        np.linspace(-1, 1, 6, dtype=np.float32),
    )
    one, zero = np.ones(6, np.float32), np.zeros(6, np.float32)
    forms = {
        "layer_norm": lambda s, b: functional.layer_norm(x, s, b),
        "group_norm": lambda s, b: functional.group_norm(x, 3, s, b),
        "batch_norm": lambda s, b: functional.batch_norm(x, s, b)[0],
    }
    for name, form in forms.items():
        for actual, written_out in (
            (form(scale, None), form(scale, zero)),
            (form(None, bias), form(one, bias)),
            (form(None, None), form(one, zero)),
        ):
            assert_close(actual, np.asarray(written_out, np.float64), name, factor=1)


def test_moments_returned_by_batch_norm():
    """Count, mean and biased variance a channel; given statistics come back, with count 0."""
    x = np.random.default_rng(0).normal(3, 2, (4, 3, 5)).astype(np.float32)
    _, moments = functional.batch_norm(x)
    assert isinstance(moments, functional.Moments)
    np.testing.assert_array_equal(moments.count, np.full(5, 12, np.float32))
    assert_close(moments.mean, x.astype(np.float64).mean((0, 1)))
    assert_close(moments.var, x.astype(np.float64).var((0, 1)))
    mean, var = np.arange(5, dtype=np.float32), np.arange(1, 6, dtype=np.float32)
    _, moments = functional.batch_norm(x, statistics=(mean, var))
    np.testing.assert_array_equal(moments.count, np.zeros(5, np.float32))
    np.testing.assert_array_equal(moments.mean, mean)
    np.testing.assert_array_equal(moments.var, var)


def test_moments_count_mean_and_var_share_a_shape():
    """Also with `keepdims`, and count is floating point."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float16)
    for axis, keepdims, shape in (
        (-1, False, (2, 3)),
        ((0, 2), True, (1, 3, 1)),
        ((2, 1, 0), False, ()),
    ):
        moments = functional.moments(x, axis, keepdims=keepdims)
        count = x.size // max(int(np.prod(shape)), 1)
        for name, exact in (
            ("count", np.full(shape, float(count))),
            ("mean", x.astype(np.float64).mean(tuple(np.atleast_1d(axis)), keepdims=keepdims)),
            ("var", x.astype(np.float64).var(tuple(np.atleast_1d(axis)), keepdims=keepdims)),
        ):
            assert getattr(moments, name).dtype == np.float32
            assert_close(getattr(moments, name), np.asarray(exact), name)


@quick_jit
def special_cases(x):
    """Pairs of results that mean the same."""
    layer, group = functional.layer_norm, functional.group_norm
    return (
        (group(x, 1), layer(x)),
        (group(x, 1, axis=(-3, -2, -1)), layer(x, axis=(1, 2, 3))),
        (group(x, 6, axis=(-3, -2, -1)), layer(x, axis=(-3, -2))),
        (functional.standardize(x, (1, 2)), layer(x, axis=(1, 2))),
        (functional.batch_norm(x)[0], functional.standardize(x, (0, 1, 2))),
    )


def test_special_cases_are_one_another():
    """One group is layer norm, a group a channel over images is instance norm, and so on."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
    for actual, other in special_cases(x):
        assert_close(actual, np.asarray(other, np.float64), factor=4)


def test_unspecified_implementation_is_the_plain_one():
    """`implementation="xla"` and None agree on every operation that has a choice."""
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    forms = (
        lambda **k: functional.layer_norm(x, **k),
        lambda **k: functional.rms_norm(x, **k),
        lambda **k: functional.group_norm(x, 3, **k),
        lambda **k: functional.standardize(x, **k),
        lambda **k: functional.batch_norm(x, **k)[0],
        lambda **k: functional.moments(x, (0, 1), **k).var,
    )
    pairs = quick_jit(lambda: [(form(implementation="xla"), form()) for form in forms])()
    for actual, other in pairs:
        assert_close(actual, np.asarray(other, np.float64), factor=4)
