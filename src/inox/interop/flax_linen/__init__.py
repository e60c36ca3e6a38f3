"""Normalization layers for Flax Linen: change one import, and keep the model.

The classes have the names, arguments, parameters and `batch_stats` of Flax' own. What else
`flax.linen` has is found here, too, so that one line changes a file:

>>> from inox.interop import flax_linen as nn  # before: from flax import linen as nn
>>> import jax, jax.numpy as jnp
>>> class Block(nn.Module):
...     @nn.compact
...     def __call__(self, x, train):
...         return nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x)))
>>> variables = Block().init(jax.random.key(0), jnp.ones((4, 3)), train=False)
>>> sorted(variables["params"])
['BatchNorm_0', 'Dense_0']
"""

from typing import Any

from .base import nn as _nn
from .batch import BatchNorm
from .groups import GroupNorm, InstanceNorm
from .rows import LayerNorm, RMSNorm

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]


def __getattr__(name: str) -> Any:
    """What Flax has and we have not."""
    return getattr(_nn, name)
