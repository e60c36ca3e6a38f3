"""How the arrays of a kernel are cut: into blocks by the grid, into strips inside of it.

Nothing divides anything. The last block reaches over the end of the arrays, where what it holds is
anything; strips that lie there altogether are not worked on. What is written there goes nowhere.
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


def row_block(blocks: Blocks, lanes: Lanes) -> Any:
    """A block of a matrix: whole rows, filled up to whole registers."""
    pl, _ = pallas()
    return pl.BlockSpec((blocks.rows, lanes.chunks * LANES), lambda i: (i, 0))


def parameter_block(lanes: Lanes) -> Any:
    """All of a row that belongs to each block."""
    pl, _ = pallas()
    return pl.BlockSpec((1, lanes.chunks * LANES), lambda i: (0, 0))


def epsilon_block() -> Any:
    """A number, where the scalar processor reads it."""
    pl, pltpu = pallas()
    return pl.BlockSpec(memory_space=pltpu.SMEM)


def each_strip(blocks: Blocks, rows: int, do: Callable[[Any, Array], None]) -> None:
    """Does something with each strip of this step's block.

    Args:
        blocks: How large they are.
        rows: How many rows there are in all.
        do: `(index of the strip's rows in the block, how many of them there are)`.
    """
    pl, _ = pallas()
    count = blocks.rows // blocks.strip
    left = rows - pl.program_id(0) * blocks.rows
    if rows % blocks.rows:
        count = jnp.minimum(count, lax.div(left + blocks.strip - 1, blocks.strip))

    def strip(i: Any, _: Any) -> None:
        start = pl.multiple_of(i * blocks.strip, blocks.strip)
        do(pl.ds(start, blocks.strip), left - start)

    lax.fori_loop(0, count, strip, None)
