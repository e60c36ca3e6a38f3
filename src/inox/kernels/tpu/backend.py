"""What a TPU has besides the references, as the contract of a backend asks for it."""

import functools
from collections.abc import Mapping

from ..kernel import Backend, Kernel
from ..switch import switched_off
from .calls import CALLS
from .programs import PROGRAMS


@functools.cache
def _missing() -> str:
    return switched_off()


def kernels() -> Mapping[str, Kernel]:
    """What this process has, whether or not there is a TPU: JAX brings the compiler."""
    return {} if _missing() else CALLS


BACKEND = Backend(
    "tpu",
    kernels,
    # JAX itself promises that programs with this call can be stored: it holds the kernel.
    ("tpu_custom_call",),
    _missing,
    # Its compiler knows no `custom_partitioning`: it answers "Custom emitter for
    # CustomSPMDPartitioning not found" (libtpu 0.0.42, https://github.com/jax-ml/jax/issues/38196).
    partitioned=False,
    programs=PROGRAMS,
)
