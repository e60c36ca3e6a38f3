"""The compiled programs of a check: a norm forward and backward, and what carries it out."""

import functools
from typing import Any, NamedTuple

import jax

from ..kernels.backends import BACKENDS
from .hard_inputs import HARD_INPUTS, Operands, operands
from .layers import Layer, both

# Of a whole batch: enough for a batch norm to have a variance, few enough to be judged on the host
# in no time, and no number that blocks of rows divide.
EXAMPLES = 33


class Program(NamedTuple):
    """A layer, ready to be called for arrays of one shape and dtype.

    Args:
        run: `(dy, x, scale, bias, epsilon) -> (y, dx, dscale, dbias, r)`, compiled.
        backend: The backend whose kernels are in it, or `"xla"` where none are.
    """

    run: Any
    backend: str


@functools.cache
def program(layer: Layer, implementation: str | None, dtype: str, examples: int) -> Program:
    """Compiles a layer for the default device, once for a number of examples.

    What carries it out is read off the program that was made, not off what was asked for.
    """
    x, dy, scale, bias, epsilon = operands(layer, HARD_INPUTS[0], dtype, examples)
    lowered = jax.jit(both(layer.call, implementation)).lower(dy, x, scale, bias, epsilon)
    text = lowered.as_text()
    names = [
        backend.name
        for backend in BACKENDS.values()
        if backend.name is not None
        if any(f'"{call}"' in text or f"@{call}(" in text for call in backend.calls)
    ]
    return Program(lowered.compile(), "+".join(names) or "xla")


def called(made: Program, given: Operands) -> tuple[Any, ...]:
    """y and dx on the host, and r where the layer forms a sum."""
    x, dy, scale, bias, epsilon = given
    y, dx, _, _, r = jax.device_get(made.run(dy, x, scale, bias, epsilon))
    return (y, dx) if r is None else (y, dx, r)
