"""Normalization layers for Haiku: change one import, and keep the model.

The classes have the names, arguments, parameters and state of Haiku's own. What else `haiku` has
is found here, too, so that one line changes a file:

>>> from inox.interop import haiku as hk  # before: import haiku as hk
>>> import jax
>>> def network(x, is_training):
...     x = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, is_training)
...     return hk.Linear(1)(jax.nn.relu(x))
>>> init, apply = hk.transform_with_state(network)
>>> x = jax.numpy.arange(12.0).reshape(4, 3)
>>> parameters, state = init(jax.random.key(0), x, True)
>>> sorted(parameters)
['batch_norm', 'linear']
>>> sorted(state)
['batch_norm/~/mean_ema', 'batch_norm/~/var_ema']

:func:`replaced` does the same to models whose code is Haiku's or a library's.
"""

from typing import Any

from .base import hk as _haiku
from .batch import BatchNorm
from .groups import GroupNorm
from .replacing import replaced
from .rows import InstanceNorm, LayerNorm, RMSNorm

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm", "replaced"]


def __getattr__(name: str) -> Any:
    """What Haiku has and we have not."""
    return getattr(_haiku, name)


def __dir__() -> list[str]:
    """Our names and Haiku's."""
    return sorted({*globals(), *dir(_haiku)})
