"""What Python does for a norm: an eager call, and the way from a function to a lowered program."""

import functools
import inspect
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .cells import EPSILON, SMALL, data
from .contestants import CONTESTANTS
from .programs import Program

Norm = Callable[..., Any]


def textbook(x: Any, scale: Any, bias: Any) -> Any:
    """Layer norm as its formula stands in a textbook."""
    mean = jnp.mean(x, -1, keepdims=True)
    variance = jnp.var(x, -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + EPSILON) * scale + bias


def norm(name: str) -> Norm:
    """The layer norm (x, scale, bias) -> y of a contestant, or of the textbook."""
    return textbook if name == "textbook" else CONTESTANTS[name].norm(SMALL)


def operands() -> tuple[Any, ...]:
    """x, scale and bias of the small cell."""
    drawn = data(SMALL)
    return tuple(jax.device_put((drawn.x, *drawn.parameters)))


def eager(name: str) -> Program:
    """One call outside of `jax.jit`."""
    return Program(functools.partial(norm(name), *operands()))


def chain_gradient(name: str, norms: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The gradient of a chain of norms in x and all parameters, and its operands.

    A new function each time, so that nobody's cache knows it.
    """
    of_name = norm(name)

    def loss(x: Any, parameters: list[Any]) -> Any:
        for scale, bias in parameters:
            x = of_name(x, scale, bias)
        return jnp.sum(x**2)

    x, *affine = operands()
    return jax.grad(loss, (0, 1)), (x, [tuple(affine)] * norms)


def forget() -> None:
    """Empties the caches of what was traced: JAX's, and those of this package.

    A cache that takes no argument holds what is found out once a process, and stays.
    """
    jax.clear_caches()
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "inox":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear") and inspect.signature(value).parameters:
                    value.cache_clear()


class Lowering:
    """Tracing and lowering the gradient of a chain, as at the first call of a training step."""

    def __init__(self, name: str, norms: int) -> None:
        self._name, self._norms = name, norms

    def lowered(self) -> tuple[Any, float]:
        """The lowered program, and the seconds that it took this thread, which does all of it."""
        function, given = chain_gradient(self._name, self._norms)
        forget()
        start = time.thread_time()
        found = jax.jit(function).trace(*given).lower()
        return found, time.thread_time() - start

    def seconds(self, calls: int = 1) -> float:
        """The time of one, averaged over `calls`."""
        return sum(self.lowered()[1] for _ in range(calls)) / calls
