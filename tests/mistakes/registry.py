"""A mistake: a call, the error that it raises, and what its message tells."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

SHAPE = (2, 3, 6)
CHANNELS = SHAPE[-1]
X = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@dataclass(frozen=True)
class Mistake:
    """`call(x)` is wrong, whatever the array x of shape SHAPE; under `jit` x is traced.

    `fragments` are parts of the message: the argument's name, what was found and the cure.
    """

    name: str
    call: Callable[[Any], Any]
    kind: type[Exception]
    fragments: tuple[str, ...]

    @property
    def group(self) -> str:
        """The call and, where many values of it are tried, the argument."""
        return self.name.split("=")[0]

    def __str__(self) -> str:
        return self.name


def each(
    functions: dict[str, Callable[..., Any]],
    argument: str,
    values: dict[str, tuple[Any, type[Exception], tuple[str, ...]]],
) -> list[Mistake]:
    """Every function with every wrong value of one argument, which its message names."""

    def mistake(name: str, label: str) -> Mistake:
        function, (value, kind, fragments) = functions[name], values[label]
        return Mistake(
            f"{name}({argument}={label})",
            lambda x: function(x, **{argument: value}),
            kind,
            (argument, *fragments),
        )

    return [mistake(name, label) for name in functions for label in values]


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def key() -> jax.Array:
    return jax.random.key(0)
