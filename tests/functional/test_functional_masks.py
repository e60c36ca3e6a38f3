"""`where`: a padded and masked batch is the ragged batch, whatever the padding holds.

The grid of values runs every operation with a mask against the oracle, whose slices are ragged,
with NaN and inf in the padding. Here: the library against itself on the ragged batch, shapes of
masks, and what the contract says of positions and slices that are False.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from tests import oracle
from tests.functional.closeness import assert_all_close, assert_close
from tests.functional.programs import check_gradients, quick_jit, result_dtypes
from tests.layouts import Layout
from tests.registry import OPERATIONS

LENGTHS = (5, 3, 1, 0)
N, L, C = len(LENGTHS), 5, 6

generator = np.random.default_rng(0)
X = generator.normal(1.5, 2, (N, L, C)).astype(np.float32)
DY = generator.normal(size=(N, L, C)).astype(np.float32)
SCALE = generator.uniform(0.5, 1.5, C).astype(np.float32)
BIAS = generator.normal(size=C).astype(np.float32)
TOKENS = np.arange(L)[None, :, None] < np.array(LENGTHS)[:, None, None]
PARAMETERS = {"scale": SCALE, "bias": BIAS}

# Norms that pool whole sequences, so that the mask changes their statistics.
SEQUENCE_NORMS = {
    "layer_norm": lambda x, p, w: functional.layer_norm(x, **p, axis=(-2, -1), where=w),
    "rms_norm": lambda x, p, w: functional.rms_norm(x, p["scale"], axis=(-2, -1), where=w),
    "instance norm": lambda x, p, w: functional.layer_norm(x, **p, axis=-2, where=w),
    "group_norm": lambda x, p, w: functional.group_norm(x, 3, **p, axis=(-2, -1), where=w),
}


def padded(value):
    """The batch with `value` in the padding."""
    return np.where(TOKENS, X, np.float32(value))


def pull(norm, x, where, dy):
    """y, dx and the gradients of the parameters."""
    y, pullback = jax.vjp(lambda x, p: norm(x, p, where), x, PARAMETERS)
    dx, dparameters = pullback(dy)
    return y, dx, dparameters


@pytest.mark.parametrize("norm", SEQUENCE_NORMS.values(), ids=SEQUENCE_NORMS)
def test_masked_sequences_are_the_ragged_ones(norm):
    """Sequence by sequence: y, dx, and the sum of the parameters' gradients; a mask (N, L, 1)."""
    program = quick_jit(functools.partial(pull, norm))
    y, dx, dparameters = program(padded(np.nan), TOKENS, DY)
    total = jax.tree.map(np.zeros_like, PARAMETERS)
    for index, length in enumerate(LENGTHS):
        own = slice(index, index + 1), slice(0, length)
        if length:
            expected = program(X[own], None, DY[own])
            # Where two elements make a slice, dx is next to nothing: terms of size 1 cancel.
            for actual, one in ((y, expected[0]), (dx, expected[1])):
                assert_close(actual[own], np.asarray(one, np.float64), size=np.array(1.0))
            total = jax.tree.map(lambda a, b: a + np.asarray(b), total, expected[2])
        for padding in (y[index, length:], dx[index, length:]):
            np.testing.assert_array_equal(padding, np.zeros((L - length, C)))
    for name, value in dparameters.items():
        assert_close(value, total[name].astype(np.float64), name, size=np.array(9.0))


def test_masked_batch_norm_is_that_of_the_true_tokens():
    """Values, moments and gradients equal those of the list of true tokens, flattened."""
    dmoments = functional.Moments(jnp.zeros(C), jnp.asarray(BIAS), jnp.asarray(SCALE))

    @quick_jit
    def program(x, where, dy):
        def call(x, p):
            return functional.batch_norm(x, **p, where=where)

        results, pullback = jax.vjp(call, x, PARAMETERS)
        return *results, *pullback((dy, dmoments))

    keep = np.broadcast_to(TOKENS[..., 0], (N, L))
    y, moments, dx, dparameters = program(padded(np.nan), TOKENS, DY)
    y_list, moments_list, dx_list, dparameters_list = program(X[keep], None, DY[keep])
    np.testing.assert_array_equal(moments.count, np.full(C, sum(LENGTHS), np.float32))
    for actual, expected in (
        (y[keep], y_list),
        (dx[keep], dx_list),
        (moments.mean, moments_list.mean),
        (moments.var, moments_list.var),
        (dparameters["scale"], dparameters_list["scale"]),
        (dparameters["bias"], dparameters_list["bias"]),
    ):
        assert_close(actual, np.asarray(expected, np.float64), size=np.array(9.0))
    np.testing.assert_array_equal(y[~keep], np.zeros((N * L - sum(LENGTHS), C)))
    np.testing.assert_array_equal(dx[~keep], np.zeros((N * L - sum(LENGTHS), C)))


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.float16], ids=lambda d: d.__name__)
def test_padding_changes_no_bit(operation, dtype):
    """Results and gradients are bitwise the same for zeros, NaN, inf or 1e30 in the padding."""
    layout = operation.layouts[0]
    arrays = operation.draw(layout, dtype, parameter_dtype=np.float32)
    where = np.random.default_rng(1).uniform(size=layout.shape) < 0.6
    where[0] = False
    exact = operation.reference(layout).evaluate(oracle.as_float64(arrays), where)
    cotangents = operation.cotangents(exact, result_dtypes(operation, arrays))

    @quick_jit
    def program(arrays):
        def results(arrays):
            named = operation.call(arrays, where, **layout.static)
            return {name: named[name] for name in operation.results}

        values, pullback = jax.vjp(results, arrays)
        return values, pullback(cotangents)[0]

    def with_padding(value):
        return arrays | {"x": np.where(where, arrays["x"], np.asarray(value).astype(dtype))}

    clean = jax.tree.leaves(program(with_padding(0)))
    for value in (np.nan, np.inf, -np.inf, 1e30 if dtype != np.float16 else 6e4):
        for actual, expected in zip(
            jax.tree.leaves(program(with_padding(value))), clean, strict=True
        ):
            assert np.isfinite(np.asarray(actual, np.float32)).all()
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if "y" in one.results], ids=str)
def test_nan_in_the_cotangent_of_padding(operation):
    """A loss that makes NaN of padding reaches neither the parameters nor the other positions."""
    layout = operation.layouts[0]
    arrays = operation.draw(layout, np.float32)
    where = np.random.default_rng(1).uniform(size=layout.shape) < 0.6
    exact = operation.reference(layout).evaluate(oracle.as_float64(arrays), where)
    cotangents = operation.cotangents(exact, result_dtypes(operation, arrays))

    def results(arrays):
        named = operation.call(arrays, where, **layout.static)
        return {name: named[name] for name in operation.results}

    spoiled = cotangents | {"y": np.where(where, cotangents["y"], np.float32(np.nan))}
    gradients = quick_jit(lambda a, c: jax.vjp(results, a)[1](c)[0])(arrays, spoiled)
    check_gradients(operation.reference(layout), gradients, arrays, cotangents, where)


MASKS = {
    "a token": (np.random.default_rng(3).uniform(size=(N, L, 1)) < 0.6),
    "a channel": (np.arange(C) % 3 != 1)[None, None],
    "a position and channel": (np.random.default_rng(4).uniform(size=(1, L, C)) < 0.6),
    "a sample": np.array([True, False, True, True])[:, None, None],
    "one for all, True": np.ones((1, 1, 1), bool),
    "one for all, False": np.zeros((1, 1, 1), bool),
    "everything": (np.random.default_rng(5).uniform(size=(N, L, C)) < 0.6),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masks_broadcast_to_x(mask):
    """A shape of the rank of x that broadcasts to it means its broadcast, as the oracle's does."""
    layouts = {
        "layer_norm": Layout((N, L, C), {"axis": (1, 2)}),
        "rms_norm": Layout((N, L, C)),
        "group_norm": Layout((N, L, C), {"groups": 2, "axis": (-1, 1)}),
        "batch_norm": Layout((N, L, C)),
        "batch_norm_given": Layout((N, L, C)),
        "moments": Layout((N, L, C), {"axis": (0, 2)}),
    }
    chosen = [(one, layouts[one.name]) for one in OPERATIONS if one.name in layouts]
    arrays = [one.draw(layout, np.float32) for one, layout in chosen]
    # All in one program: one compilation a mask.
    results = quick_jit(
        lambda mask, arrays: [
            one.call(a, mask, **layout.static)
            for (one, layout), a in zip(chosen, arrays, strict=True)
        ]
    )(mask, arrays)
    for (one, layout), given, result in zip(chosen, arrays, results, strict=True):
        exact = one.reference(layout).evaluate(oracle.as_float64(given), mask)
        assert_all_close({name: result[name] for name in one.results}, exact, one.name)
        if "y" in one.results:
            masked = ~np.broadcast_to(mask, layout.shape)
            assert (np.asarray(result["y"])[masked] == 0).all()


def test_a_mask_that_is_true_everywhere_changes_nothing():
    """The masked formulas are the plain ones there, to rounding."""
    for name, norm in SEQUENCE_NORMS.items():
        masked, plain = quick_jit(
            lambda x, where, norm=norm: (norm(x, PARAMETERS, where), norm(x, PARAMETERS, None))
        )(X, np.ones((N, L, 1), bool))
        assert_close(masked, np.asarray(plain, np.float64), name)


def test_a_slice_without_a_true_position():
    """It gives 0, not the bias; its moments are count 0, mean 0, var 0; its gradients are 0."""
    where = np.array([True, False, True, False])[:, None, None]
    for name, norm in SEQUENCE_NORMS.items():
        program = quick_jit(functools.partial(pull, norm))
        y, dx, _ = program(np.where(where, X, np.float32(np.nan)), where, DY)
        for index in (1, 3):
            np.testing.assert_array_equal(y[index], np.zeros((L, C)), name)
            np.testing.assert_array_equal(dx[index], np.zeros((L, C)), name)
    moments = functional.moments(X * np.float32(np.nan), (1, 2), where=np.zeros((1, 1, 1), bool))
    for value in moments:
        np.testing.assert_array_equal(value, np.zeros(N))
    _, moments = functional.batch_norm(X, where=np.zeros((1, 1, 1), bool))
    for value in moments:
        np.testing.assert_array_equal(value, np.zeros(C))


def test_a_mask_under_jit_is_an_argument_like_any_other():
    """A new mask of the same shape doesn't trace again."""
    traces = []

    @jax.jit
    def norm(x, where):
        traces.append(1)
        return functional.layer_norm(x, axis=(-2, -1), where=where)

    for mask in (TOKENS, ~TOKENS):
        exact = oracle.Normalization(oracle.slices(X.shape, (1, 2))).evaluate(
            {"x": X.astype(np.float64), "epsilon": np.float64(1e-5)}, mask
        )
        assert_close(norm(X, mask), exact["y"])
    assert len(traces) == 1
