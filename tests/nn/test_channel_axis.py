"""Batch norm of channels that are not last: the layer on moved axes, and no copies of x."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import BIAS, SCALE, assert_close, bias, example, scale

from inox.calibration import accumulate, commit
from inox.kernels.cpu.library import library
from inox.nn import BatchNorm, export_state

X = example(0, (4, 4, 3, 5))
DY = example(1, X.shape)


def build(channel_axis, **keywords):
    return export_state(
        BatchNorm(4, channel_axis=channel_axis, scale=scale(), bias=bias(), **keywords)
    )


def both(layer, state, x, dy):
    def norm(layer, x):
        return layer(x, state, where=jnp.abs(x) < jnp.asarray(4, x.dtype))

    y, pullback, after = jax.vjp(norm, layer, x, has_aux=True)
    return y, pullback(dy), after


@pytest.mark.parametrize("keywords", [{}, {"virtual_batch": 2}], ids=str)
def test_it_is_the_layer_on_moved_axes(keywords):
    """y, gradients of x, scale and bias, and the state, with a mask; in evaluation, too."""
    layer, state = build(1, **keywords)
    y, (of_layer, dx), after = jax.jit(both)(layer, state, X, DY)
    last, last_state = build(-1, **keywords)
    moved = [np.moveaxis(array, 1, -1) for array in (X, DY)]
    expected, (of_last, dx_last), expected_after = jax.jit(both)(last, last_state, *moved)
    assert_close(y, np.moveaxis(expected, -1, 1))
    assert_close(dx, np.moveaxis(dx_last, -1, 1), 32)
    for found, one in zip(*map(jax.tree.leaves, (of_layer, of_last)), strict=True):
        assert_close(found, one, 32)
    for found, one in zip(*map(jax.tree.leaves, (after, expected_after)), strict=True):
        assert_close(found, one)
    layer.train(False)
    mean, var = (np.asarray(part, np.float64)[:, None, None] for part in after[layer.stats])
    y, _ = layer(X, after)
    exact = (X - mean) / np.sqrt(var + 1e-5) * SCALE[:, None, None] + BIAS[:, None, None]
    assert_close(y, exact)


def test_microbatches_are_pooled():
    """What accumulate and commit make of it are the moments of each channel."""
    layer, state = build(1, momentum=0.0)
    pooling, pooled = accumulate(layer, state)
    for part in (X[:1], X[1:]):
        _, pooled = pooling(part, pooled)
    found = commit(layer, state, pooled)[layer.stats]
    wide = X.astype(np.float64)
    assert_close(found.mean, wide.mean((0, 2, 3)))
    assert_close(found.var, wide.var((0, 2, 3)))


@pytest.mark.parametrize("x", [np.float32(1), [[1.0, 2.0], [3.0]]], ids=["scalar", "ragged"])
def test_an_x_without_channels_is_refused_as_where_they_are_last(x):
    """The message is that of the layer with its channels last, with a scale as without one."""
    messages = []
    for channel_axis in (1, -1):
        layer, state = build(channel_axis)
        with pytest.raises((TypeError, ValueError), match=r"^x must") as caught:
            layer(x, state)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_other_channels_are_refused_with_a_scale_as_without():
    """The message tells where the channels are looked for, and not how a scale is reshaped."""
    layer, state = build(1)
    with pytest.raises(ValueError, match="must have 4 channels along axis 1"):
        layer(np.moveaxis(X, 1, -1), state)


def test_nothing_is_copied():
    """Forward and backward read x where it lies: kernels for the sums, and no transpose."""
    if not library().available:
        pytest.skip("there are no kernels")
    layer, state = build(1)

    def loss(layer, x):
        return jnp.sum(layer(x, state)[0] ** 2)

    text = jax.jit(jax.grad(loss, (0, 1))).lower(layer, jnp.asarray(X)).compile().as_text()
    assert re.search(r"inox_moments", text)
    assert re.search(r"inox_centred_sums", text)
    assert not re.search(r" (transpose|copy)\(", text)
