"""Inox: normalization layers for JAX.

- :mod:`inox.nn`: layers, parameters and explicit state.
- :mod:`inox.functional`: the same as plain functions.
- :mod:`inox.calibration`: batch statistics over microbatches, data sets and copies of a network.
- :mod:`inox.folding`: batch norm folded into the map before it.
"""

from . import calibration, folding, functional, nn

__all__ = ["calibration", "folding", "functional", "nn"]
__version__ = "0.1.0"
