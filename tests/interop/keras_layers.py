"""Layers of ours that are loaded from layers of Keras."""

import jax.numpy as jnp
import numpy as np

from inox.nn import BatchNorm

C = 6
IMAGES, TOKENS = (5, 3, C), (5, C)


def arrays(shape=C, *, scale=True, bias=True, dtype=jnp.float32):
    """What a layer of ours starts with: its values are all to be replaced."""
    found = {}
    if scale:
        found["scale"] = jnp.full(shape, 7, dtype)
    if bias:
        found["bias"] = jnp.full(shape, 7, dtype)
    return found


def batch_norm(**keywords):
    """With Keras' defaults."""
    return BatchNorm(C, epsilon=1e-3, momentum=0.99, **keywords)


def bound(theirs):
    """6 units in the last place of the largest output.

    Either side rounds the difference from the mean, the reciprocal deviation (three operations),
    two products and a sum by half a unit each, of numbers that are about as large as the largest
    output: 3.5 units on either side if all rounded the same way. Measured: at most 1.2.
    """
    return 6 * 2.0**-23 * np.abs(theirs).max()
