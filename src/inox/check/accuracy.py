"""The error of a layer on hard inputs, against its published bound."""

from typing import NamedTuple

import numpy as np

from .bounds import bound, kernel_bound
from .exact import errors, same_bits, summed
from .hard_inputs import HardInput, of_dtype, operands
from .layers import Layer
from .programs import EXAMPLES, called, program


class Measured(NamedTuple):
    """The result nearest to its bound, or furthest beyond it.

    Args:
        error: In units in the last place.
        limit: The published bound on it.
        on: The kind of data.
    """

    error: float
    limit: float
    on: str

    @property
    def kept(self) -> bool:
        """Whether the bound holds."""
        return self.error <= self.limit

    @property
    def share(self) -> float:
        """How much of the bound is used up."""
        return self.error / self.limit


class Accuracy(NamedTuple):
    """What a layer's errors came to, and whether the sum that it forms is rounded once."""

    backend: str
    y: Measured
    dx: Measured
    once: bool = True


def published(layer: Layer, backend: str, result: str, dtype: str, hard: HardInput) -> float:
    """The bound that holds for a result: the kernels' own where they compute it."""
    kernels = backend == "cpu" and not layer.by_xla
    return (kernel_bound if kernels else bound)(result, dtype, hard.dominated)


def accuracy(layer: Layer, dtype: str, implementation: str | None, quick: bool) -> Accuracy:
    """The worst errors over all kinds of data, by one program."""
    made = program(layer, implementation, dtype, EXAMPLES)
    worst: dict[str, Measured] = {}
    once = True
    for hard in of_dtype(dtype, quick):
        given = operands(layer, hard, dtype, EXAMPLES)
        y, dx, *sums = called(made, given)
        with np.errstate(over="ignore"):  # beyond the largest float16, infinity
            once = once and all(same_bits(r, summed(given.x).astype(r.dtype)) for r in sums)
        for result, error in errors(layer, given, y, dx).items():
            limit = published(layer, made.backend, result, dtype, hard)
            found = Measured(error, limit, hard.name)
            if result not in worst or found.share > worst[result].share:
                worst[result] = found
    return Accuracy(made.backend, worst["y"], worst["dx"], once)
