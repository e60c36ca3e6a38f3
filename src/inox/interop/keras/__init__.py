r"""Weights of Keras: a layer takes its arrays out of a `.weights.h5` file or a Keras layer.

>>> import jax.numpy as jnp, numpy as np
>>> from inox.nn import BatchNorm, export_state
>>> layer = BatchNorm(2, epsilon=1e-3, momentum=0.99, scale=jnp.ones(2), bias=jnp.zeros(2))
>>> layer, state = export_state(layer)
>>> gamma, beta, moving_mean, moving_variance = np.array([[2, 2], [1, 1], [1, 5], [4, 9.0]], "f4")
>>> layer, state = load(layer, state, [gamma, beta, moving_mean, moving_variance])
>>> y, _ = layer(jnp.array([[1.0, 8.0]]), state, training=False)
>>> print(y.round(2))
[[1. 3.]]

The layer says what is expected: built with a scale, it wants a `gamma`. Files of Keras hold arrays
in an order, without names: scale, bias, moving mean, moving variance, those that there are. Epsilon
and momentum are in none: Keras' defaults are 1e-3 and 0.99, in batch norm, where ours are 1e-5 and
0.9. Give the Keras layer itself, and its names, epsilon, momentum and groups are compared as well.

Momentum means in Keras what it means here, the weight of the old value, and the running variance is
the biased one in both.
"""

from .weights import dump, load

__all__ = ["dump", "load"]
