"""Normalization layers for Flax NNX: change one import, and keep the model.

The classes have the names, arguments, attributes, parameters and running statistics of Flax' own.
What else `flax.nnx` has is found here, too, so that one line changes a file:

>>> from inox.interop import flax_nnx as nnx  # before: from flax import nnx
>>> import jax.numpy as jnp
>>> class Block(nnx.Module):
...     def __init__(self, rngs):
...         self.linear = nnx.Linear(3, 8, rngs=rngs)
...         self.norm = nnx.BatchNorm(8, rngs=rngs)
...
...     def __call__(self, x):
...         return nnx.relu(self.norm(self.linear(x)))
>>> block = Block(nnx.Rngs(0))
>>> print(block(jnp.ones((4, 3))).shape)
(4, 8)

:func:`replace` does the same to a model that is built already, such as one of a library.
"""

from typing import Any

from .base import nnx as _nnx
from .batch import BatchNorm
from .groups import GroupNorm, InstanceNorm
from .replacing import replace
from .rows import LayerNorm, RMSNorm

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm", "replace"]


def __getattr__(name: str) -> Any:
    """What Flax has and we have not."""
    return getattr(_nnx, name)
