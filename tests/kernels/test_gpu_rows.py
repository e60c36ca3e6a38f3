"""The gradients of rows, and of sums of rows, as GPUs are given them, carried out here."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.functional import add_layer_norm, add_rms_norm, layer_norm, rms_norm
from inox.kernels.expansion import expand
from inox.kernels.gpu.row_views import FEWEST, TILE, views

ROWS = [
    (16, 32, 32, 32),
    (16384,),
    (8192, 12),
    (16, 197),
    (7, 197),
    (8, 12, 197),
    (3, 5, 7),
    (32, 56, 56),
    (1, 1, 9),
    (10007,),
]


@pytest.mark.parametrize("length", [2, 8, 48, 64, 2**15])
@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_no_two_kernels_see_rows_alike(rows, length):
    """All rows in each view, by dimensions that are neither x's nor the other's.

    Where dimensions have no factors, sums see x's.
    """
    found = views(rows, length)
    wide = tuple(n for n in rows if n > 1)
    if found is None:
        assert wide == (10007,)  # a prime number
        return
    assert math.prod(found.of_dx) == math.prod(rows)
    assert found.of_dx not in (wide, found.of_sums)
    if found.of_sums is not None:
        assert math.prod(found.of_sums) == math.prod(rows)
        assert found.of_sums != wide or wide in ((7, 197), (3, 5, 7), (9,))
        assert FEWEST <= found.of_sums[found.summed] <= TILE // length


def _layer(x, *parameters):
    return layer_norm(x, **dict(zip(("scale", "bias"), parameters, strict=False)))


def _rms(x, *parameters):
    return rms_norm(x, **dict(zip(("scale",), parameters, strict=False)))


@pytest.mark.parametrize("shared", [(), (4,), (3, 4)], ids=["channels", "a sample", "a group"])
@pytest.mark.parametrize("wanted", ["x", "all", "parameters"])
@pytest.mark.parametrize("norm", [_layer, _rms])
def test_gradients_are_those_of_the_formulas(norm, wanted, shared, rng):
    """Whichever are asked for, and whatever a scale is shared by: channels, a group or a sample."""
    x, dy = (jnp.asarray(rng.normal(size=(4, 6, 10)), jnp.float32) for _ in range(2))
    # Of shapes (10,), (4, 1, 10) and (6, 10).
    shape = {(): (10,), (4,): (4, 1, 10), (3, 4): (6, 10)}[shared]
    parameters = [jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2)]
    parameters = parameters[: 1 if norm is _rms else 2]
    of = {"x": (0,), "all": tuple(range(1 + len(parameters)))}
    of["parameters"] = of["all"][1:]

    def loss(x, *parameters):
        return jnp.sum(norm(x, *parameters) * dy)

    gradients = jax.grad(loss, of[wanted])
    for found, exact in zip(
        expand(gradients, platform="cuda")(x, *parameters), gradients(x, *parameters), strict=True
    ):
        assert found.shape == exact.shape
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


def test_gradients_of_many_rows(rng):
    """Enough for each view to split a dimension."""
    x, dy = (jnp.asarray(rng.normal(size=(16, 32, 32, 16)), jnp.float32) for _ in range(2))
    scale, bias = (jnp.asarray(rng.normal(size=16), jnp.float32) for _ in range(2))
    gradients = jax.grad(lambda *a: jnp.sum(layer_norm(*a) * dy), (0, 1, 2))
    found = expand(gradients, platform="cuda")(x, scale, bias)
    for one, exact in zip(found, gradients(x, scale, bias), strict=True):
        np.testing.assert_allclose(one, exact, rtol=1e-5, atol=1e-3)


def test_tiny_numbers_reach_the_scale(rng):
    """Their variance underflows to 0, and so does what equal numbers are told by."""
    x = jnp.asarray(rng.normal(size=(16, 8)) * 1e-23, jnp.float32)
    gradient = jax.grad(lambda scale: jnp.sum(layer_norm(x, scale)))
    exact = jnp.sum((x - x.mean(-1, keepdims=True)) / jnp.sqrt(jnp.float32(1e-5)), 0)
    np.testing.assert_allclose(expand(gradient, platform="cuda")(jnp.ones(8)), exact, rtol=1e-5)


def test_a_sum_of_two_dtypes_is_formed_where_promotion_is_strict():
    """In the dtype of the statistics, whichever part is the wider one."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        parts = jnp.ones((4, 96), jnp.float64), jnp.ones((4, 96), jnp.float32)
        for x, residual in (parts, parts[::-1]):
            gradients = jax.grad(lambda x, r: jnp.sum(add_rms_norm(x, r)[0]), (0, 1))
            of_x, of_residual = expand(gradients, platform="cuda")(x, residual)
            assert (of_x.dtype, of_residual.dtype) == (x.dtype, residual.dtype)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("reached", [("y", "sum"), ("y",), ("sum",)], ids="+".join)
@pytest.mark.parametrize("wanted", [(0, 1, 2), (0, 1), (1,), (2,)], ids=str)
@pytest.mark.parametrize("length", [16, 96], ids=["short rows", "rows"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("norm", [add_layer_norm, add_rms_norm])
def test_gradients_of_a_norm_of_a_sum(norm, dtype, length, wanted, reached, rounded, rng):
    """Of x, residual and scale, with what comes in beside the norm; of the sum or of its parts."""
    x, residual, dy, dr = (
        jnp.asarray(rng.normal(size=(6, 8, length)) + shift, dtype) for shift in (2, 3, 0, 0)
    )
    scale = jnp.asarray(rng.normal(size=length), jnp.float32)

    def loss(x, residual, scale):
        y, total = norm(x, residual, scale, normalize_rounded=rounded)
        parts = {"y": jnp.sum((y * dy).astype(jnp.float32)), "sum": jnp.sum(total * dr)}
        return sum(parts[name].astype(jnp.float32) for name in reached)

    gradients = jax.grad(loss, wanted)
    exact = gradients(x, residual, scale)
    for found, same in zip(
        expand(gradients, platform="cuda")(x, residual, scale), exact, strict=True
    ):
        assert (found.shape, found.dtype) == (same.shape, same.dtype)
        near = 1e-5 if same.dtype == jnp.float32 else 1e-2
        np.testing.assert_allclose(
            found.astype(jnp.float32), same.astype(jnp.float32), rtol=near, atol=near
        )
