"""Whose programs are compiled: functions of x, the gradient of y and parameters, by shapes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..speed.cells import UNCENTRED, Cell
from ..speed.contestants import CONTESTANTS, Contestant

# The others are not measured: PyTorch and the inox distribution aren't compiled by these
# compilers, and Haiku's formulas are Flax's in another order.
NAMES = ("ours", "flax", "equinox")
PEERS = ("flax", "equinox")

Function = Callable[..., Any]


def with_pass(norm: Function, which: str) -> Function:
    """The function of (x, g, *parameters) that a pass is."""

    def forward(x: Any, _: Any, *parameters: Any) -> Any:
        return norm(x, *parameters)

    def both(x: Any, g: Any, *parameters: Any) -> Any:
        y, pull = jax.vjp(norm, x, *parameters)
        return y, pull(g)

    def backward(*arguments: Any) -> Any:
        return both(*arguments)[1]  # y is not asked for, so it isn't computed

    return {"forward": forward, "backward": backward, "both": both}[which]


def floor(which: str) -> Function:
    """Reading and writing alone: each pass reads what it must and writes what it must."""
    return {
        "forward": lambda x, _: x + 1,
        "backward": lambda x, g: x + g,
        "both": lambda x, g: (x + 1, x + g),
    }[which]


def shapes(cell: Cell, channels_first: bool) -> list[Any]:
    """Of x, the gradient of y, and the parameters."""
    shape = cell.shape
    if channels_first:
        shape = (shape[0], shape[-1], *shape[1:-1])
    x = jax.ShapeDtypeStruct(shape, jnp.dtype(cell.dtype))
    parameter = jax.ShapeDtypeStruct(cell.parameter_shape, jnp.float32)
    return [x, x, *[parameter] * (1 if cell.kind in UNCENTRED else 2)]


def program(name: str, cell: Cell, which: str) -> tuple[Function, list[Any]]:
    """The function, and the shapes it is compiled for."""
    if name == "floor":
        return floor(which), shapes(cell, False)[:2]
    contestant: Contestant = CONTESTANTS[name]
    norm = contestant.norm(cell)
    if norm is None:
        raise ValueError(f"{contestant.label} has no {cell.title}")
    return with_pass(norm, which), shapes(cell, contestant.channels_first(cell))
