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
AddLayerNorm   as LayerNorm, of a sum with a residual      none
AddRMSNorm     as RMSNorm, of a sum with a residual        none
=============  ==========================================  ============================

>>> import jax
>>> layer = LayerNorm(scale=jax.numpy.ones(4), bias=jax.numpy.zeros(4))
>>> y = layer(jax.numpy.arange(8.0).reshape(2, 4))
"""

from ...installed_once import check_installed_once

# Once more: of the other distribution's package, installed over ours, this folder hides a module.
# So its import ends here, where `inox` and `inox.nn` are its own and ask nothing.
check_installed_once()

from .base import NormalizationLayer
from .batch import BatchNorm
from .group import GroupNorm
from .layer import InstanceNorm, LayerNorm
from .pooled_moments import PooledMoments
from .renorm import BatchRenorm
from .residual import AddLayerNorm, AddRMSNorm
from .root_mean_square import RMSNorm
from .running import Statistics

__all__ = [
    "AddLayerNorm",
    "AddRMSNorm",
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
