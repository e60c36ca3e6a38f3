"""Statistics pooled over a `vmap`, whose parts are short or long: two ways, one result.

Short parts are put together before they are reduced, long ones after; both are the moments of the
whole, in values, gradients and gradients of each part apart.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.functional import batch_norm, moments
from inox.functional.mapped_moments import SHORT

LENGTHS = [1, 7, SHORT, SHORT + 1, 3 * SHORT]
PARTS, CHANNELS = 5, 3
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def drawn(rng, length):
    """Parts with a mean of 100 times the spread, what y is weighted by, and a mask."""
    x = 100 + rng.standard_normal((PARTS, length, CHANNELS))
    target = rng.standard_normal(x.shape)
    where = rng.random((PARTS, length, 1)) < 0.7
    where[0, 0] = True
    return x.astype(np.float32), target.astype(np.float32), where


def moments64(x, where):
    kept = x.astype(np.float64)[np.broadcast_to(where, x.shape)].reshape(-1, CHANNELS)
    return len(kept), kept.mean(0), kept.var(0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_moments_are_those_of_the_whole(length, masked, rng):
    """Count, mean and variance, alike on every part."""
    x, _, where = drawn(rng, length)
    mask = where if masked else np.ones_like(where)

    def part(x, mask):
        return moments(x, 0, where=mask if masked else None, axis_name="parts")

    found = jax.jit(jax.vmap(part, axis_name="parts", out_axes=None))(x, mask)
    for one, other in zip(found, moments64(x, mask), strict=True):
        np.testing.assert_allclose(one, np.broadcast_to(other, (CHANNELS,)), rtol=2e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_gradients_are_those_of_the_whole(length, masked, rng):
    """Of all parts by one function, and of each part's own loss within the `vmap`."""
    x, target, where = drawn(rng, length)
    mask = where if masked else np.ones_like(where)

    def loss(x, target, mask, name):
        shown = mask if masked else None
        axis = (0,) if name else (0, 1)
        y, _ = batch_norm(x, axis=axis, where=shown, axis_name=name)
        return jnp.sum(y * target)

    def together(x):
        return jnp.sum(jax.vmap(lambda *a: loss(*a, "parts"), axis_name="parts")(x, target, mask))

    expected = jax.jit(jax.grad(lambda x: loss(x, target, mask, None)))(x)
    np.testing.assert_allclose(jax.jit(jax.grad(together))(x), expected, **CLOSE)
    apart = jax.vmap(jax.grad(lambda *a: loss(*a, "parts")), axis_name="parts")
    np.testing.assert_allclose(jax.jit(apart)(x, target, mask), expected, **CLOSE)
