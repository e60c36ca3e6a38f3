"""Slices without a spread, and channels whose factor is not finite: one answer for each.

A slice of equal numbers has a variance of exactly 0. With epsilon 0 its standardized values are
taken as 0, and their derivative, too, by kernels and formulas alike. What is masked has an output
and a gradient of exactly 0, whatever stands in the slice beside it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from inox.kernels.cpu.library import library
from tests.functional.programs import quick_jit
from tests.registry import OPERATIONS

IMPLEMENTATIONS = pytest.mark.parametrize("implementation", [None, "xla"])
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]
NORMALIZING = [
    one
    for one in OPERATIONS
    if one.results[0] == "y" and not {"mean", "residual"} & set(one.arrays)
]


def program(operation, layout, implementation, **options):
    """`(arrays, where, dy) -> y, gradients`."""

    def y(arrays, where):
        named = operation.call(
            arrays | options, where, **layout.static, implementation=implementation
        )
        return named["y"]

    @quick_jit
    def run(arrays, where, dy):
        value, pullback = jax.vjp(lambda arrays: y(arrays, where), arrays)
        return value, pullback(dy)[0]

    return run


def drawn(operation, layout, dtype=np.float32):
    """Arrays without epsilon, and a cotangent."""
    arrays = operation.draw(layout, dtype)
    arrays.pop("epsilon", None)
    dy = (1 + np.arange(arrays["x"].size)).reshape(layout.shape) / 64
    return arrays, jnp.asarray(dy, dtype)


@IMPLEMENTATIONS
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("operation", NORMALIZING, ids=str)
def test_equal_numbers_with_epsilon_0(operation, dtype, implementation):
    """y is the bias, dx and dscale are 0, dbias is the sum of dy: for zeros and for 3."""
    for layout in operation.layouts[: 2 if dtype == jnp.float32 else 1]:
        arrays, dy = drawn(operation, layout, dtype)
        run = program(operation, layout, implementation, epsilon=0.0)
        for number in (0, 3):
            if number and not operation.reference(layout).centred:
                continue  # equal numbers have no spread, but a mean square
            arrays["x"] = np.full(layout.shape, number, dtype)
            y, gradients = run(arrays, None, dy)
            bias = arrays.get("bias", np.zeros((), dtype))
            np.testing.assert_array_equal(y, np.broadcast_to(bias, layout.shape))
            for name in ("x", "scale"):
                if name in gradients:
                    assert not np.asarray(gradients[name]).any(), name
            if "bias" in gradients:
                shape = (1,) * (dy.ndim - bias.ndim) + bias.shape
                shared = tuple(i for i, n in enumerate(shape) if n == 1)
                exact = np.asarray(dy, np.float64).sum(shared, keepdims=True).reshape(bias.shape)
                np.testing.assert_allclose(
                    np.asarray(gradients["bias"], np.float64), exact, rtol=jnp.finfo(dtype).eps
                )


@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
@pytest.mark.parametrize("operation", NORMALIZING, ids=str)
def test_masked_means_0_beside_anything(operation, epsilon):
    """Output and gradient are 0 at masked elements, in slices that are themselves beyond help."""
    generator = np.random.default_rng(7)
    for layout in operation.layouts[:2]:
        arrays, dy = drawn(operation, layout)
        run = program(operation, layout, None, epsilon=epsilon)
        for spoiled in ("equal", "one inf", "one NaN", "huge") * 5:
            where = generator.uniform(size=layout.shape) < 0.5
            x = np.full(layout.shape, 3, np.float32)
            if spoiled != "equal":
                x = generator.normal(size=layout.shape).astype(np.float32)
                bad = {"one inf": np.inf, "one NaN": np.nan, "huge": 3e38}[spoiled]
                x.reshape(-1)[generator.integers(x.size, size=1 + x.size // 8)] = bad
            x[~where] = np.nan
            y, gradients = run(arrays | {"x": x}, where, dy)
            assert (np.asarray(y)[~where] == 0).all()
            assert (np.asarray(gradients["x"])[~where] == 0).all()


@IMPLEMENTATIONS
def test_a_mask_with_one_sample_a_channel(implementation):
    """One valid sample a channel, epsilon 0: its deviation is 0, and so is every gradient of x."""
    x, where = jnp.array([[1.0, 2, 3, 4], [5, 6, 7, 8]]), jnp.array([[True], [False]])

    def y(x):
        return functional.batch_norm(x, where=where, epsilon=0.0, implementation=implementation)[0]

    value, pullback = jax.vjp(y, x)
    (dx,) = pullback(jnp.ones_like(x))
    assert not np.asarray(value).any()
    assert not np.asarray(dx).any()


@pytest.mark.parametrize("operation", NORMALIZING, ids=str)
def test_a_variance_that_overflows_is_told(operation):
    """Beyond the range of the formulas' variance: NaN in y and dx, and never 0 without a word."""
    layout = operation.layouts[0]
    arrays, dy = drawn(operation, layout)
    arrays["x"] = arrays["x"] * np.float32(1e25)
    y, gradients = program(operation, layout, "xla", epsilon=1e-5)(arrays, None, dy)
    assert np.isnan(y).all()
    assert np.isnan(gradients["x"]).all()


def test_kernels_compute_what_overflows_the_formulas():
    """The CPU kernels of rows have a wider range inside: the result is right."""
    if not library().available:
        pytest.skip("there are no kernels")
    x = np.random.default_rng(3).normal(size=(4, 64)).astype(np.float32) * np.float32(1e30)
    wide = x.astype(np.float64)
    exact = (wide - wide.mean(-1, keepdims=True)) / wide.std(-1, keepdims=True)
    np.testing.assert_allclose(functional.layer_norm(x), exact, rtol=1e-6, atol=1e-6)


@IMPLEMENTATIONS
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 64])
def test_a_row_with_an_infinity(length, implementation):
    """Its statistics are not numbers, and neither is any element: RMS norm's, too."""
    x = np.ones((2, length), np.float32)
    x[0, 0] = np.inf
    for function in (functional.rms_norm, functional.layer_norm):
        y = np.asarray(function(x, implementation=implementation))
        assert np.isnan(y[0]).all()
        assert np.isfinite(y[1]).all()
        columns = np.asarray(function(x.T, axis=0, implementation=implementation))
        np.testing.assert_array_equal(np.isnan(columns), np.isnan(y.T))


@IMPLEMENTATIONS
@pytest.mark.parametrize("length", [2, 3, 4, 7, 64])
def test_a_variance_that_overflows_float64(x64, length, implementation):
    """In float64 nothing is wider: NaN by kernels as by formulas, for rows of any length."""
    x = np.zeros((1, length))
    x[0, 0], x[0, -1] = 1e200, -1e200
    for function in (functional.rms_norm, functional.layer_norm):
        assert np.isnan(function(x, implementation=implementation)).all()
