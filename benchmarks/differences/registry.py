"""All differences, and whose layers they compare."""

import equinox
import haiku
from flax import linen, nnx

from inox.interop import equinox as inox_equinox
from inox.interop import flax_linen, flax_nnx
from inox.interop import haiku as inox_haiku

from . import of_equinox, of_flax, of_haiku

SPACES = {
    "Flax NNX": (nnx, flax_nnx),
    "Flax Linen": (linen, flax_linen),
    "Equinox": (equinox.nn, inox_equinox),
    "Haiku": (haiku, inox_haiku),
}
DIFFERENCES = [*of_flax.DIFFERENCES, *of_equinox.DIFFERENCES, *of_haiku.DIFFERENCES]
