"""What the CPU has besides the references, as the contract of a backend asks for it."""

import functools
from collections.abc import Mapping

from ..kernel import Backend, Kernel
from .calls import CALLS
from .library import TARGETS, library
from .pairwise_sum import pairwise_sum


@functools.cache
def kernels() -> Mapping[str, Kernel]:
    """What this process has: without the library, the sums alone."""
    sums: Mapping[str, Kernel] = {"sum": pairwise_sum}
    return {**sums, **CALLS} if library().available else sums


BACKEND = Backend("cpu", kernels, tuple(TARGETS.values()), lambda: library().reason, masks=True)
