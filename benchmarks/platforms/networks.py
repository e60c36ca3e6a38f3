"""A norm between two matrix products: what it adds to them in a network.

By itself a norm has its gradient of y at hand before it begins, and one program may read x once for
y and for dx. In training there is a network between the two passes.

What is told is the difference to the products by themselves, so it is told for GPUs alone: there a
product is a kernel that reads and writes memory. The compiler for TPU makes one kernel of two
products, whose intermediate array is never written; there is nothing to compare with.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from ..speed.cells import GRID, Cell
from ..speed.contestants import CONTESTANTS
from . import contestants
from .cells import sized
from .figures import figures
from .targets import TARGETS, Target

Record = dict[str, Any]

NAMES = ("ours", "ours_xla", "flax", "equinox")
TARGET_NAMES = ("h100",)
# What the norm has to read and write at least, in arrays of the size of x: x and y; x, dy and dx.
UNITS = {"forward": 2, "step": 5}


def _product(first: bool) -> Callable[[Any, Any], Any]:
    """Channels of each position times a matrix, wherever the channels stand."""
    if first:
        return lambda x, matrix: jnp.einsum("nc...,cd->nd...", x, matrix)
    return lambda x, matrix: x @ matrix


def program(norm: Callable[..., Any], which: str, first: bool) -> Callable[..., Any]:
    """Product, norm, product: its result, or the gradients of half its square."""
    product = _product(first)

    def forward(x: Any, before: Any, after: Any, *parameters: Any) -> Any:
        return product(norm(product(x, before), *parameters), after)

    def loss(*operands: Any) -> Any:
        return jnp.sum(jnp.square(forward(*operands).astype(jnp.float32))) / 2

    def step(*operands: Any) -> Any:
        return jax.grad(loss, tuple(range(len(operands))))(*operands)

    return {"forward": forward, "step": step}[which]


def _bytes(target: Target, cell: Cell, which: str, name: str | None) -> int:
    """Of the whole program; without a norm where there is no name."""
    contestant = None if name is None else CONTESTANTS[name]
    first = contestant is not None and contestant.channels_first(cell)
    x, _, *parameters = contestants.shapes(cell, first)
    norm = (lambda x, *_: x) if contestant is None else contestant.norm(cell)
    channels = cell.shape[-1]
    matrix = jax.ShapeDtypeStruct((channels, channels), x.dtype)
    function = program(norm, which, first)
    return figures(target.compile(function, x, matrix, matrix, *parameters))["bytes"]


@cache
def _without(target: Target, cell: Cell, which: str) -> int:
    return _bytes(target, cell, which, None)


@cache
def _of_x(target: Target, cell: Cell) -> float:
    function, shapes = contestants.program("floor", cell, "forward")
    return figures(target.compile(function, *shapes))["bytes"] / 2


def added(target: Target, cell: Cell, which: str, name: str) -> float:
    """Bytes that the norm adds, over those of x as the floor reads and writes it."""
    more = _bytes(target, cell, which, name) - _without(target, cell, which)
    return round(more / _of_x(target, cell), 2)


def measured(kinds: list[str], names: Sequence[str], say: Callable[[str], None]) -> list[Record]:
    """A record for each target and cell, with what each contestant's norm adds to both programs."""
    from jax.errors import JaxRuntimeError

    records = []
    for target in TARGET_NAMES:
        for of_grid in GRID:
            if of_grid.kind not in kinds:
                continue
            cell = sized(of_grid, TARGETS[target])
            programs: dict[str, dict[str, float]] = {}
            for name in names:
                try:
                    programs[name] = {
                        which: added(TARGETS[target], cell, which, name) for which in UNITS
                    }
                except JaxRuntimeError as error:
                    programs[name] = {"refused": str(error).splitlines()[0][:200]}
            say(f"{TARGETS[target].title}, {cell.title} {cell.dtype}, in a network: {programs}")
            records.append({"target": target, "cell": cell.record(), "programs": programs})
    return records
