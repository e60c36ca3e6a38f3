"""`where` in the layers without state: a padded and masked input equals the ragged one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import (
    BIAS,
    SCALE,
    assert_close,
    bias,
    group64,
    root_mean_square64,
    scale,
    standardize64,
)

from inox.nn import GroupNorm, InstanceNorm, LayerNorm, RMSNorm

LENGTHS = (5, 2, 0)
DATA = np.random.default_rng(11).standard_normal((3, 5, 4)).astype(np.float32) * 2 + 1
WEIGHT = np.random.default_rng(12).standard_normal((3, 5, 4)).astype(np.float32)
MASK = np.arange(5)[None, :, None] < np.array(LENGTHS)[:, None, None]

LAYERS = {
    "tokens": (
        lambda: LayerNorm(scale=scale(), bias=bias()),
        lambda x: standardize64(x, -1, 1e-5) * SCALE + BIAS,
    ),
    "sentences": (
        lambda: LayerNorm((-2, -1), scale=scale(), bias=bias()),
        lambda x: standardize64(x, (-2, -1), 1e-5) * SCALE + BIAS,
    ),
    "root_mean_square": (
        lambda: RMSNorm((-1, -2), scale=scale()),
        lambda x: root_mean_square64(x, (-2, -1), 1e-6) * SCALE,
    ),
    "group": (
        lambda: GroupNorm(2, axis=(-2, -1), scale=scale(), bias=bias()),
        lambda x: group64(x, 2, (-2, -1), 1e-5) * SCALE + BIAS,
    ),
    "instance": (
        lambda: InstanceNorm(-2, scale=scale(), bias=bias()),
        lambda x: standardize64(x, -2, 1e-5) * SCALE + BIAS,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_padded_and_masked_input_equals_the_ragged_one(name):
    """Values and gradients of valid positions are those of the unpadded rows; elsewhere exactly 0.

    The padding holds an ordinary number, NaN or infinity: it changes no bit of anything.
    """
    build, expected = LAYERS[name]
    layer = build()

    @jax.jit
    def masked(layer, x):
        def loss(layer, x):
            y = layer(x, where=MASK)
            return jnp.sum(jnp.where(MASK, y * WEIGHT, 0)), y

        return jax.grad(loss, (0, 1), has_aux=True)(layer, x)

    @jax.jit
    def ragged(layer, x, weight):
        return jax.grad(lambda layer, x: jnp.sum(layer(x) * weight), (0, 1))(layer, x)

    results = []
    for filling in (0.0, 7.0, np.nan, np.inf):
        x = np.where(MASK, DATA, np.float32(filling))
        results.append(masked(layer, x))
    for other in results[1:]:
        for one, two in zip(jax.tree.leaves(results[0]), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(one, two)

    (by_layer, by_x), y = results[0]
    np.testing.assert_array_equal(np.asarray(y)[~np.broadcast_to(MASK, y.shape)], 0)
    np.testing.assert_array_equal(np.asarray(by_x)[~np.broadcast_to(MASK, y.shape)], 0)
    totals = jax.tree.map(jnp.zeros_like, by_layer)
    for row, length in enumerate(LENGTHS):
        if length == 0:
            continue
        part = DATA[row : row + 1, :length]
        assert_close(y[row : row + 1, :length], expected(part))
        slopes, by_part = ragged(layer, part, WEIGHT[row : row + 1, :length])
        # A slice of two has a gradient of nearly 0, of which only rounding is left: what counts is
        # the size of the terms that cancel.
        deviation = 1 / np.sqrt(np.var(part) + 1e-5)
        np.testing.assert_allclose(by_x[row : row + 1, :length], by_part, 4e-6, 4e-6 * deviation)
        totals = jax.tree.map(lambda one, other: one + other, totals, slopes)
    for one, other in zip(jax.tree.leaves(by_layer), jax.tree.leaves(totals), strict=True):
        assert_close(one, other, 32)


def test_mask_of_all_true_equals_no_mask():
    """A mask that is True everywhere changes the numbers by rounding at the most."""
    layers = [build() for build, _ in LAYERS.values()]
    mask = np.ones((3, 5, 1), bool)
    pairs = jax.jit(lambda layers: [(layer(DATA, where=mask), layer(DATA)) for layer in layers])(
        layers
    )
    for masked, plain in pairs:
        assert_close(masked, plain, 2)


def test_mask_along_the_normalized_axis():
    """Single channels can be masked: the statistics are those of the channels left."""
    mask = np.array([True, True, False, True])
    y = LayerNorm()(DATA, where=mask[None, None])
    assert_close(np.asarray(y)[..., mask], standardize64(DATA[..., mask], -1, 1e-5))
    np.testing.assert_array_equal(np.asarray(y)[..., 2], 0)
