"""Normalization of observations and features by the statistics of a stream.

- :func:`init`: a stream that has seen nothing.
- :func:`update`: the stream with one more batch, by weights, masks, over devices, in a window.
- :func:`normalize` and :func:`denormalize`: by the statistics so far, and back.
- :func:`merge`: several streams as one.

>>> import jax.numpy as jnp
>>> stream = init({"position": jnp.zeros(2), "speed": jnp.zeros(())})
>>> batch = {"position": jnp.array([[1e6, 0.0], [1e6 + 2, 4.0]]), "speed": jnp.array([3.0, 5.0])}
>>> stream = update(stream, batch)
>>> print(normalize(stream, batch, epsilon=0.0)["position"])
[[-1. -1.]
 [ 1.  1.]]
"""

from .standardizing import denormalize, normalize
from .starting import init
from .stream import Stream
from .updating import merge, update

__all__ = ["Stream", "denormalize", "init", "merge", "normalize", "update"]
