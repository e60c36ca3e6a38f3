"""The compiled programs of a check: a norm forward and backward, and what carries it out."""

from typing import Any, NamedTuple

import jax

from ..kernels.backends import BACKENDS
from .hard_inputs import Operands
from .layers import Layer, both


class Program(NamedTuple):
    """A layer, ready to be called for arrays of one shape and dtype.

    Args:
        run: `(dy, x, scale, bias, epsilon) -> (y, dx, dscale, dbias)`, compiled.
        backend: The backend whose kernels are in it, or `"xla"` where none are.
    """

    run: Any
    backend: str


def program(layer: Layer, implementation: str | None, given: Operands) -> Program:
    """Compiles a layer for its default device.

    What carries it out is read off the program that was made, not off what was asked for.
    """
    x, dy, scale, bias, epsilon = given
    lowered = jax.jit(both(layer.call, implementation)).lower(dy, x, scale, bias, epsilon)
    text = lowered.as_text()
    names = [
        backend.name
        for backend in BACKENDS.values()
        if any(f'"{call}"' in text or f"@{call}(" in text for call in backend.calls)
    ]
    return Program(lowered.compile(), "+".join(names) or "xla")


def called(made: Program, given: Operands) -> tuple[Any, Any]:
    """y and dx, on the host."""
    x, dy, scale, bias, epsilon = given
    y, dx, *_ = jax.device_get(made.run(dy, x, scale, bias, epsilon))
    return y, dx
