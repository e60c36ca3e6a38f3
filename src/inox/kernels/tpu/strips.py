"""How the arrays of a kernel are cut: into blocks by the grid, into strips inside of it.

The arrays have the shape (sheets, rows, channels). Nothing divides anything: the last blocks reach
over the end of the arrays, where what they hold is anything; strips that lie there altogether are
not worked on. What is written there goes nowhere.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..jax_internals import pallas
from .block_sizes import Blocks
from .lanes import LANES, Lanes

Array = jax.Array


def grid(blocks: Blocks, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many blocks there are, of sheets and of rows."""
    return -(-shape[0] // blocks.sheets), -(-shape[1] // blocks.rows)


def row_block(blocks: Blocks, lanes: Lanes) -> Any:
    """A block of whole rows, filled up to whole registers."""
    pl, _ = pallas()
    shape = (blocks.sheets, blocks.rows, lanes.chunks * LANES)
    return pl.BlockSpec(shape, lambda i, j: (i, j, 0))


def parameter_block(lanes: Lanes) -> Any:
    """All of a row that belongs to each block."""
    pl, _ = pallas()
    return pl.BlockSpec((1, lanes.chunks * LANES), lambda i, j: (0, 0))


def epsilon_block() -> Any:
    """A number, where the scalar processor reads it."""
    pl, pltpu = pallas()
    return pl.BlockSpec(memory_space=pltpu.SMEM)


def first_block() -> Any:
    """Whether a kernel is at the first block of all."""
    pl, _ = pallas()
    return (pl.program_id(0) == 0) & (pl.program_id(1) == 0)


def last_block() -> Any:
    """Whether a kernel is at the last block of all."""
    pl, _ = pallas()
    ends = [pl.program_id(axis) == pl.num_programs(axis) - 1 for axis in (0, 1)]
    return ends[0] & ends[1]


def each_strip(
    blocks: Blocks, shape: tuple[int, ...], do: Callable[[tuple[Any, Any], Any], None]
) -> None:
    """Does something with each strip of this step's block.

    Args:
        blocks: How large they are.
        shape: The shape of the arrays.
        do: `(index of the strip's sheet and rows in the block, how many of the rows there are)`.
    """
    pl, _ = pallas()
    sheets, rows = shape[:2]
    left = rows - pl.program_id(1) * blocks.rows
    strips = _count(blocks.rows // blocks.strip, rows % blocks.rows, left, blocks.strip)

    def sheet(k: Any) -> None:
        def strip(i: Any, _: Any) -> None:
            start = pl.multiple_of(i * blocks.strip, blocks.strip)
            do((k, pl.ds(start, blocks.strip)), left - start)

        lax.fori_loop(0, strips, strip, None)

    if blocks.sheets == 1:
        sheet(0)
        return
    rest = sheets - pl.program_id(0) * blocks.sheets
    count = _count(blocks.sheets, sheets % blocks.sheets, rest, 1)
    lax.fori_loop(0, count, lambda k, _: sheet(k), None)


def _count(full: int, rest: int, left: Any, size: int) -> Any:
    """How many pieces of a size there are in a block, which is the full number but at the end."""
    return full if rest == 0 else jnp.minimum(full, lax.div(left + size - 1, size))
