"""Inox: normalization layers for JAX.

- :mod:`inox.nn`: layers, parameters and explicit state.
- :mod:`inox.functional`: the same as plain functions.
- :mod:`inox.calibration`: batch statistics over microbatches, data sets and copies of a network.
- :mod:`inox.streaming`: observations normalized by the statistics of their stream.
- :mod:`inox.folding`: batch norm folded into the map before it, scales into the map after.
- :mod:`inox.interop`: the layers as classes of other frameworks, and their checkpoints.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .installed_once import check_installed_once

check_installed_once()  # before the first file that may not be ours

from . import functional, nn

if TYPE_CHECKING:
    from . import calibration, folding, interop, streaming

__all__ = ["calibration", "folding", "functional", "interop", "nn", "streaming"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loads at its first use what a training step has no need of: 10 ms of an import of 60."""
    if name in ("calibration", "folding", "interop", "streaming"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
