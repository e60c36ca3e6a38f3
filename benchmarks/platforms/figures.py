"""The figures of a compiled program."""

from typing import Any

from .kernels import kernels
from .program import read

Figures = dict[str, Any]


def figures(compiled: Any) -> Figures:
    """Kernels, bytes, cycles and temporary memory.

    `kernels` leaves out what moves arrays to on-chip memory beside other kernels (`prefetches`);
    `bytes` has them. `cycles` is the sum of what the compiler for TPU estimates, 0 on a GPU and
    where a kernel was handed to it, of which it estimates nothing.
    """
    text = compiled.as_text()
    found, handed = kernels(read(text)), 'custom_call_target="tpu_custom_call"' in text
    memory = compiled.memory_analysis()
    prefetches = sum(kernel.times for kernel in found if kernel.is_prefetch)
    return {
        "kernels": sum(kernel.times for kernel in found) - prefetches,
        "prefetches": prefetches,
        "bytes": sum(kernel.bytes for kernel in found),
        "cycles": 0 if handed else sum(kernel.times * kernel.cycles for kernel in found),
        "temporary": 0 if memory is None else memory.temp_size_in_bytes,
    }
