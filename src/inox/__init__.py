"""Inox: normalization layers for JAX.

- :mod:`inox.nn`: layers, parameters and explicit state.
- :mod:`inox.functional`: the same as plain functions.
"""

from . import functional, nn

__all__ = ["functional", "nn"]
__version__ = "0.1.0"
