r"""Norms folded into the linear maps beside them.

In evaluation mode a batch norm is an affine map of each channel, with constants: :func:`fold` puts
it into the kernel and bias of the map before it. Layer and RMS norm depend on the data, but their
scale and bias do not: :func:`fold_scale` puts these into the map after.

>>> import jax, jax.numpy as jnp, inox.nn as nn
>>> layer, state = nn.export_state(nn.BatchNorm(2, scale=jnp.array([1.0, 3.0])))
>>> layer.train(False)
>>> kernel, bias = fold(layer, state, jnp.ones((5, 2)))
>>> x = jax.random.normal(jax.random.key(0), (4, 5))
>>> y, _ = layer(x @ jnp.ones((5, 2)), state)
>>> print(abs(x @ kernel + bias[None] - y).max() < 1e-5)
True
"""

from .batch_norms import fold
from .scales import fold_scale

__all__ = ["fold", "fold_scale"]
