"""What a TPU has besides the references, as the contract of a backend asks for it."""

from ..kernel import Backend
from .calls import CALLS

BACKEND = Backend(
    "tpu",
    lambda: CALLS,
    # JAX itself promises that programs with this call can be stored: it holds the kernel.
    ("tpu_custom_call",),
    lambda: "",
    # Its compiler knows no `custom_partitioning`: it answers "Custom emitter for
    # CustomSPMDPartitioning not found" (libtpu 0.0.42, https://github.com/jax-ml/jax/issues/38196).
    partitioned=False,
)
