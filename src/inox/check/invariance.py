"""Whether an example has the same y and dx, bit for bit, whatever stands beside it."""

from typing import Any

import numpy as np

from .hard_inputs import HARD_INPUTS, Operands, operands
from .layers import Layer
from .programs import called, program

# What a batch is cut into: examples from here to there, the whole being EXAMPLES. The first, the
# last and one between by themselves, and batches that no block of rows divides.
EXAMPLES = 33
PARTS = ((0, 1), (16, 17), (32, 33), (5, 8), (1, 33), (0, 8))
QUICK_PARTS = ((16, 17), (5, 8), (1, 33))


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays are equal to the last bit, signs of zero and NaN included."""
    one, other = (np.ascontiguousarray(array) for array in (one, other))
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def part_of(given: Operands, begin: int, end: int) -> Operands:
    """The same operands with some of the examples alone."""
    return given._replace(x=given.x[begin:end], dy=given.dy[begin:end])


def invariant(layer: Layer, dtype: str, implementation: str | None, quick: bool) -> bool:
    """Whether each part of a batch gives what the whole gives at its place."""
    usual, large_mean = HARD_INPUTS[0], HARD_INPUTS[3]
    data = [operands(layer, hard, dtype, EXAMPLES, seed=1) for hard in (usual, large_mean)]
    whole = program(layer, implementation, data[0])
    together = [called(whole, given) for given in data]
    made: dict[int, Any] = {}
    for begin, end in QUICK_PARTS if quick else PARTS:
        for given, results in zip(data, together, strict=True):
            part = part_of(given, begin, end)
            length = end - begin
            made[length] = made.get(length) or program(layer, implementation, part)
            for alone, of_whole in zip(called(made[length], part), results, strict=True):
                if not same_bits(alone, of_whole[begin:end]):
                    return False
    return True
