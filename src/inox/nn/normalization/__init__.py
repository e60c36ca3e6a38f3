"""Normalization layers.

Every layer is one operation, standardize over a choice of axes, followed by an affine map:

=============  ==========================================  ============================
layer          mean and variance over                      state
=============  ==========================================  ============================
BatchNorm      all axes but the channels                   running mean, variance
BatchRenorm    the same, corrected towards the running     the same, number of batches
LayerNorm      the axes given (the last)                   none
GroupNorm      groups of channels (and the axes given)     none
InstanceNorm   the spatial axes                            none
RMSNorm        the axes given, mean square alone           none
=============  ==========================================  ============================

>>> import jax
>>> layer = LayerNorm(scale=jax.numpy.ones(4), bias=jax.numpy.zeros(4))
>>> y = layer(jax.numpy.arange(8.0).reshape(2, 4))
"""

from .base import NormalizationLayer
from .batch import BatchNorm
from .group import GroupNorm
from .layer import InstanceNorm, LayerNorm
from .pooled_moments import PooledMoments
from .renorm import BatchRenorm
from .root_mean_square import RMSNorm
from .running import Statistics

__all__ = [
    "BatchNorm",
    "BatchRenorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "NormalizationLayer",
    "PooledMoments",
    "RMSNorm",
    "Statistics",
]
