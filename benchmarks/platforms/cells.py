"""What is compiled: the grid of the speed page at the size that a target wants, in three passes."""

import math
from collections.abc import Collection

from ..speed.cells import GRID, QUICK_SHAPES, Cell
from .targets import Target

PASSES = {
    "forward": "forward",
    "backward": "backward alone",
    "both": "forward + backward",
}


def sized(cell: Cell, target: Target) -> Cell:
    """With as many times more rows or images as make x large enough."""
    return cell.larger(max(1, math.ceil(target.least_bytes / cell.array_bytes)))


def is_quick(cell: Cell, which: str) -> bool:
    """Whether the short run compiles it."""
    known = (cell.kind, cell.shape) in QUICK_SHAPES
    return known and cell.dtype == "float32" and which != "backward"


def chosen(
    targets: Collection[str], cells: Collection[str], passes: Collection[str], quick: bool
) -> list[tuple[str, Cell, str]]:
    """Target, cell and pass of every program, the cells still of the grid's size."""
    return [
        (target, cell, which)
        for target in targets
        for cell in GRID
        for which in PASSES
        if cell.kind in cells and which in passes and (not quick or is_quick(cell, which))
    ]
