"""Layers, parameters and explicit state.

>>> import jax, inox.nn as nn
>>> class Network(nn.Module):
...     def __init__(self, key):
...         self.weight = nn.Parameter(jax.random.normal(key, (3, 8)))
...         self.norm = nn.BatchNorm(8, scale=jax.numpy.ones(8), bias=jax.numpy.zeros(8))
...
...     def __call__(self, x, state):
...         y, state = self.norm(x @ self.weight(), state)
...         return jax.nn.relu(y), state
>>> network, state = nn.export_state(Network(jax.random.key(0)))
>>> step = jax.jit(lambda network, x, state: network(x, state))
>>> y, state = step(network, jax.numpy.ones((4, 3)), state)
"""

from ..functional.moments import Moments
from . import normalization
from .module import Module, modules
from .normalization import (
    AddLayerNorm,
    AddRMSNorm,
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    NormalizationLayer,
    PooledMoments,
    RMSNorm,
    Statistics,
)
from .parameter import Parameter
from .partition import ModuleDefinition
from .selection import freeze, is_norm_parameter, is_parameter, train
from .serialization import register_namedtuple
from .state import StateEntry, StateKey, export_state, join_states, update_state

for _cls in (Moments, PooledMoments, Statistics):
    register_namedtuple(_cls)

__all__ = [
    "AddLayerNorm",
    "AddRMSNorm",
    "BatchNorm",
    "BatchRenorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Module",
    "ModuleDefinition",
    "NormalizationLayer",
    "Parameter",
    "PooledMoments",
    "RMSNorm",
    "StateEntry",
    "StateKey",
    "Statistics",
    "export_state",
    "freeze",
    "is_norm_parameter",
    "is_parameter",
    "join_states",
    "modules",
    "normalization",
    "train",
    "update_state",
]
