"""How many rows a kernel takes at a time, computed from the memory it has for them.

A kernel's arrays are cut into blocks of some rows, which the hardware moves from HBM to VMEM while
the block before is worked on: each is held twice. Within a block, the kernel works on strips of
rows, whose size depends on the channels alone, never on how many rows there are.
"""

from typing import NamedTuple

from .lanes import LANES

# What a program may take of VMEM unless it asks for more: 16 MiB on v5e, 32 MiB on v6e, and all
# that there is on v4 and before. A quarter of the least is left to the compiler: for what it holds
# beside the blocks (registers that it stores, scratch), about the numbers of a strip.
VMEM = 12 * 2**20
# A block of an array of this size is moved in a time (1.3 microseconds on v5e, at 819 GB/s)
# against which the start of the next one, about a third of a microsecond, counts little.
BLOCK = 2**20


class Blocks(NamedTuple):
    """The rows that a kernel takes at a time.

    Args:
        strip: How many it works on together: whole registers of every dtype.
        rows: How many it loads of a sheet: whole strips.
        sheets: Of how many sheets.
    """

    strip: int
    rows: int
    sheets: int = 1


def strip_rows(chunks: int, grouped: bool = False) -> int:
    """How many rows are worked on together, for a number of chunks of 128 channels.

    Sixteen rows of a half type fill a register. More of them, where they are short, give the
    processor sums to work on while it waits for others. Groups within a chunk wait for rotations:
    for a register of float32, groups of 8, libtpu schedules 43 bundles of instructions forward with
    strips of 32 rows, 35 with 64 and 32 with 128, which it has no registers for backward.
    """
    if grouped:
        return 64
    return 32 if chunks <= 8 else 16


def blocks(
    shape: tuple[int, int, int],
    itemsize: int,
    arrays: int,
    parameters: int,
    grouped: bool = False,
) -> Blocks | None:
    """The blocks for some rows, or None where not even one strip fits into the memory.

    Args:
        shape: How many sheets of how many rows there are, and how long these are.
        itemsize: The bytes of an element.
        arrays: How many arrays of these rows are read and written.
        parameters: How many rows of float32 are held beside them.
        grouped: Whether slices are groups of a row's channels.
    """
    sheets, rows, channels = shape
    chunks = -(-channels // LANES)
    strip = strip_rows(chunks, grouped)
    row = chunks * LANES * itemsize
    left = VMEM - parameters * chunks * LANES * 4
    most = min(left // (2 * arrays * row), max(BLOCK // row, strip)) // strip * strip
    if most < strip:
        return None
    whole = -(-rows // strip) * strip
    if whole <= most:  # all of a sheet, and of as many as fit
        return Blocks(strip, whole, min(sheets, most // whole))
    return Blocks(strip, _even(whole, most, strip))


def _even(whole: int, most: int, strip: int) -> int:
    """The size of blocks that are about equal; of all rows' divisors, if a near one is there."""
    for rows in range(most, most // 2, -strip):
        if whole % rows == 0:
            return rows
    return -(-whole // (-(-whole // most) * strip)) * strip
