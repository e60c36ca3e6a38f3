"""Sums over all rows, a number a channel, that a kernel adds up from strip to strip.

Each strip is brought to 8 rows, in pairs; these are added to 8 sums a channel, with what each
addition rounds off kept beside them. Thousands of equal terms added up one after the other would
err by a few hundred units in the last place: so the result errs by the roundings within a strip,
and by one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..arithmetic import two_sum
from ..jax_internals import pallas
from .lanes import LANES, Lanes, in_pairs

Array = jax.Array

# The rows of a register of float32.
SUBLANES = 8


class ColumnSums(NamedTuple):
    """The sums of one kind.

    Args:
        lanes: The channels.
        high: The memory of the sums.
        low: The memory of what was rounded off.
    """

    lanes: Lanes
    high: Any
    low: Any

    @staticmethod
    def memory(lanes: Lanes) -> tuple[Any, Any]:
        """What a kernel has to hold for them."""
        _, pltpu = pallas()
        one = pltpu.VMEM((SUBLANES, lanes.chunks * LANES), jnp.float32)
        return one, one

    def clear(self) -> None:
        """Starts at zero."""
        zero = jnp.zeros((SUBLANES, LANES), jnp.float32)

        def clear(i: Any) -> None:
            self.high[:, self.lanes.at(i)] = zero
            self.low[:, self.lanes.at(i)] = zero

        self.lanes.each(clear)

    def add(self, chunk: Any, terms: Array) -> None:
        """Adds the rows of a chunk."""
        at = self.lanes.at(chunk)
        parts = range(0, terms.shape[0], SUBLANES)
        strip = in_pairs([terms[i : i + SUBLANES] for i in parts])
        total, error = two_sum(self.high[:, at], strip)
        self.high[:, at] = total
        self.low[:, at] = self.low[:, at] + error

    def write(self, out: Any) -> None:
        """Writes the sums of the 8 as one row."""
        _, pltpu = pallas()

        def write(i: Any) -> None:
            at = self.lanes.at(i)
            high, low = self.high[:, at], self.low[:, at]
            for shift in (4, 2, 1):
                high, error = two_sum(high, pltpu.roll(high, shift, 0))
                low = low + pltpu.roll(low, shift, 0) + error
            out[:, at] = (high + low)[:1]

        self.lanes.each(write)
