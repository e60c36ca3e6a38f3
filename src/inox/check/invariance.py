"""Whether an example has the same y and dx, bit for bit, whatever stands beside it."""

from .exact import same_bits
from .hard_inputs import HARD_INPUTS, Operands, operands
from .layers import Layer
from .programs import EXAMPLES, called, program

# The backends whose kernels promise it: those that docs/batch-invariance.md names.
PROMISED = ("cpu",)
# What a batch is cut into: examples from here to there, the first, the last and one between by
# themselves, and batches of eight.
PARTS = ((0, 1), (16, 17), (32, 33), (5, 13), (25, 33))
QUICK_PARTS = ((0, 1), (16, 17), (32, 33))


def part_of(given: Operands, begin: int, end: int) -> Operands:
    """The same operands with some of the examples alone."""
    return given._replace(x=given.x[begin:end], dy=given.dy[begin:end])


def invariant(layer: Layer, dtype: str, implementation: str | None, quick: bool) -> bool:
    """Whether each part of a batch, and the batch in reverse, give what the whole gives."""
    whole = program(layer, implementation, dtype, EXAMPLES)
    for hard in (HARD_INPUTS[0], HARD_INPUTS[3]):
        given = operands(layer, hard, dtype, EXAMPLES, seed=1)
        together = called(whole, given)
        backwards = called(whole, given._replace(x=given.x[::-1], dy=given.dy[::-1]))
        pairs = [(turned[::-1], one) for turned, one in zip(backwards, together, strict=True)]
        for begin, end in QUICK_PARTS if quick else PARTS:
            made = program(layer, implementation, dtype, end - begin)
            alone = called(made, part_of(given, begin, end))
            pairs += [(part, one[begin:end]) for part, one in zip(alone, together, strict=True)]
        if not all(same_bits(*pair) for pair in pairs):
            return False
    return True
