"""Normalization as plain functions: arrays in, arrays out.

Each function is one operation, standardize over a choice of axes, followed by an affine map. The
formulas and their derivatives stand in :mod:`.split_moments`, :mod:`.normalize` and
:mod:`.given_statistics`.

>>> import jax
>>> x = jax.numpy.array([[1.0, 3.0], [2.0, 6.0]])
>>> print(layer_norm(x, epsilon=0.0))
[[-1.  1.]
 [-1.  1.]]
"""

from ..kernels.expansion import expand
from .add_norms import add_layer_norm, add_rms_norm
from .batch import batch_norm
from .groups import group_norm
from .moments import Moments, merge_moments, moments
from .norms import layer_norm, standardize
from .root_mean_square import rms_norm
from .spectral_norm import SpectralState, spectral_norm, spectral_state
from .weight_norm import weight_norm
from .weight_standardize import weight_standardize

__all__ = [
    "Moments",
    "SpectralState",
    "add_layer_norm",
    "add_rms_norm",
    "batch_norm",
    "expand",
    "group_norm",
    "layer_norm",
    "merge_moments",
    "moments",
    "rms_norm",
    "spectral_norm",
    "spectral_state",
    "standardize",
    "weight_norm",
    "weight_standardize",
]
