"""What looks like a mistake and is none: it must pass, with the right numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional, nn
from tests.mistakes.registry import CHANNELS, SHAPE, X, ones, zeros

NORMAL = functional.layer_norm(X)
HALF = np.full(CHANNELS, 0.5, np.float32)

SAME = {
    "scale of one": lambda: functional.layer_norm(X, 1),
    "NumPy's scale": lambda: functional.layer_norm(X, np.float32(1), np.float64(0)),
    "scale of rank 0": lambda: functional.layer_norm(X, jnp.ones(()), jnp.zeros(())),
    "scale of integers": lambda: functional.layer_norm(X, np.ones(CHANNELS, int)),
    "list of axes": lambda: functional.layer_norm(X, axis=[-1]),
    "axes of NumPy": lambda: functional.layer_norm(X, axis=np.array([2])),
    "axis of NumPy": lambda: functional.layer_norm(X, axis=np.int8(-1)),
    "axis of JAX": lambda: functional.layer_norm(X, axis=jnp.array(-1)),
    "range of axes": lambda: functional.layer_norm(X, axis=range(2, 3)),
    "epsilon of rank 0": lambda: functional.layer_norm(X, epsilon=jnp.float32(1e-5)),
    "epsilon of NumPy": lambda: functional.layer_norm(X, epsilon=np.array(1e-5)),
    "mask of lists": lambda: functional.layer_norm(X, where=[[[True]]]),
    "mask of NumPy": lambda: functional.layer_norm(X, where=np.ones((1, 3, 1), bool)),
    "traced x": lambda: jax.jit(functional.layer_norm)(X),
    "traced epsilon": lambda: jax.jit(lambda e: functional.layer_norm(X, epsilon=e))(1e-5),
    "traced mask": lambda: jax.jit(lambda w: functional.layer_norm(X, where=w))(ones(*SHAPE) > 0),
    "list of lists": lambda: functional.layer_norm(X.tolist()),
    "list of scalars": lambda: functional.layer_norm([[list(row) for row in part] for part in X]),
    "list of traced scalars": lambda: jnp.stack(
        [jax.vmap(lambda row: functional.layer_norm(list(row)))(part) for part in X]
    ),
    "layer with lists": lambda: nn.LayerNorm([-1], np.array(1e-5))(X),
    "given statistics": lambda: functional.batch_norm(
        NORMAL, statistics=[[0.0] * CHANNELS, [1 - 1e-5] * CHANNELS]
    )[0],
    "given zero variance": lambda: functional.batch_norm(
        NORMAL, statistics=(zeros(CHANNELS), zeros(CHANNELS)), epsilon=1.0
    )[0],
}


@pytest.mark.parametrize("name", SAME)
def test_the_plain_call_is_meant(name):
    """Whatever form the arguments come in."""
    np.testing.assert_allclose(SAME[name](), NORMAL, rtol=1e-5, atol=1e-6)


OFFSETS = (1, 1.0, np.float32(1), np.int64(1), np.array(1.0), jnp.float32(1), jnp.int32(1))
ROUNDED = functional.rms_norm(X, HALF + 1, normalized_dtype=jnp.bfloat16)


@pytest.mark.parametrize("offset", OFFSETS, ids=lambda offset: f"{type(offset).__name__} {offset}")
def test_an_offset_is_any_number(offset):
    """Of Python, NumPy or JAX, traced or not, of a function and of a layer, then and later."""
    expected = functional.rms_norm(X, HALF + 1)
    layer = nn.RMSNorm(scale=HALF)
    layer.scale_offset = offset
    for y in (
        functional.rms_norm(X, HALF, scale_offset=offset),
        jax.jit(lambda offset: functional.rms_norm(X, HALF, scale_offset=offset))(offset),
        nn.RMSNorm(scale=HALF, scale_offset=offset)(X),
        layer(X),
    ):
        np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, "bfloat16", jnp.dtype("bfloat16"), jnp.ones((), jnp.bfloat16).dtype]
)
def test_a_dtype_is_named_in_any_way(dtype):
    """As a class, a text or a dtype; of a function and of a layer, then and later."""
    layer = nn.RMSNorm(scale=HALF + 1)
    layer.normalized_dtype = dtype
    for y in (
        functional.rms_norm(X, HALF + 1, normalized_dtype=dtype),
        nn.RMSNorm(scale=HALF + 1, normalized_dtype=dtype)(X),
        layer(X),
    ):
        np.testing.assert_array_equal(y, ROUNDED)


def test_an_offset_of_0_needs_no_scale():
    """In whatever form a number that is known may come."""
    for zero in (0, 0.0, np.float32(0)):
        np.testing.assert_array_equal(
            functional.rms_norm(X, scale_offset=zero), nn.RMSNorm(scale_offset=zero)(X)
        )


def test_types_without_numbers_can_be_evaluated():
    """`eval_shape` on functions and on layers that are built inside."""
    struct = jax.ShapeDtypeStruct(SHAPE, "bfloat16")
    scale = jax.ShapeDtypeStruct((CHANNELS,), "float32")

    def call(x, scale, epsilon, momentum, var):
        layer, state = nn.export_state(nn.BatchNorm(CHANNELS, epsilon, momentum, scale=scale))
        y, state = layer(x, state)
        return functional.batch_norm(y, statistics=(scale, var))[0]

    number = jax.ShapeDtypeStruct((), "float32")
    found = jax.eval_shape(call, struct, scale, number, number, scale)
    assert (found.shape, found.dtype) == (SHAPE, struct.dtype)


def test_what_cannot_be_looked_at_is_not_checked():
    """A traced epsilon, momentum or variance may hold anything, as under `jit` for a search."""

    @jax.jit
    def call(epsilon, var):
        return functional.batch_norm(X, statistics=(HALF, var), epsilon=epsilon)[0]

    assert not np.isfinite(call(jnp.float32(-2.0), ones(CHANNELS))).any()
    assert not np.isfinite(call(jnp.float32(1.0), -2 * ones(CHANNELS))).any()


def test_a_tree_of_booleans_or_none_is_still_a_mask():
    """The leaves of a layer may hold anything: a mask for an optimiser is a layer of bools."""
    layer = nn.LayerNorm(scale=ones(CHANNELS), bias=zeros(CHANNELS))
    for value in (True, None):
        other = jax.tree.map(lambda _, value=value: value, layer)
        assert other.scale.value is value


def test_an_axis_beyond_the_layout_of_one_array_suits_another():
    """An axis is compared with the rank at the call, as one layer may see arrays of any rank."""
    layer = nn.LayerNorm(40 - 38)
    np.testing.assert_allclose(layer(X), NORMAL, rtol=1e-6)
    with pytest.raises(ValueError, match="axis 2"):
        layer(X[0])


def test_names_of_any_kind_that_jax_takes():
    """Strings mostly, but an axis may be named by any hashable object that is no number."""
    name = object()
    y = jax.vmap(functools.partial(functional.batch_norm, axis_name=name), axis_name=name)(X)[0]
    rows = X.reshape(-1, CHANNELS).astype(np.float64)
    expected = (X - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
