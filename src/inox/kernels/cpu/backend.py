"""What the CPU has besides the references, as the contract of a backend asks for it."""

import functools
from collections.abc import Mapping

from ..kernel import Backend, Kernel
from .calls import CALLS
from .guards import GUARDS
from .library import TARGETS, library
from .pairwise_sum import pairwise_sum


@functools.cache
def kernels() -> Mapping[str, Kernel]:
    """What this process has: nothing without the library."""
    return CALLS if library().available else {}


BACKEND = Backend(
    "cpu",
    kernels,
    tuple(TARGETS.values()),
    lambda: library().reason,
    masks=True,
    programs={"sum": pairwise_sum},
    guards=GUARDS,
)
