"""All differences, and whose layers they compare."""

from flax import linen, nnx

from inox.interop import flax_linen, flax_nnx

from . import of_flax

SPACES = {"Flax NNX": (nnx, flax_nnx), "Flax Linen": (linen, flax_linen)}
DIFFERENCES = [*of_flax.DIFFERENCES]
