"""The kernels of a program, one a line, for who wants to know where the bytes are."""

from ..speed.cells import Cell
from ..speed.contestants import LABELS
from . import contestants
from .cells import sized
from .kernels import Kernel, kernels
from .program import Array, read
from .targets import Target


def _named(array: Array) -> str:
    """Dtype and shape, and a mark for on-chip memory."""
    return f"{array.dtype}[{','.join(map(str, array.shape))}]{'*' if array.space else ''}"


def line(kernel: Kernel, x: int) -> str:
    """What one reads and writes, and its bytes over those of x."""
    reads, writes = (" ".join(map(_named, found)) for found in (kernel.reads, kernel.writes))
    told = f"{kernel.bytes / x:.2f}"
    if kernel.cycles:
        told += f", {kernel.times * kernel.cycles:,} cycles"
    return f"  {kernel.name}: {told}: {reads} -> {writes}"


def listed(target: Target, of_grid: Cell, which: str, name: str) -> list[str]:
    """A heading and a line a kernel."""
    cell = sized(of_grid, target)
    function, shapes = contestants.program(name, cell, which)
    found = kernels(read(target.compile(function, *shapes).as_text()))
    heading = f"{LABELS[name]}, {target.title}, {cell.title} {cell.dtype}, {which}"
    return [heading, *(line(kernel, cell.array_bytes) for kernel in found)]
