"""Compiles, and keeps the figures."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from ..speed.cells import Cell
from . import contestants
from .cells import sized
from .figures import Figures, figures
from .targets import TARGETS, Target

Record = dict[str, Any]


def say(line: str) -> None:
    """One line of what is going on."""
    print(line, file=sys.stderr, flush=True)


def compiled_figures(target: Target, cell: Cell, which: str, name: str) -> Figures:
    """Of one program, with the seconds that compiling took; `refused` where the compiler won't."""
    from jax.errors import JaxRuntimeError

    function, shapes = contestants.program(name, cell, which)
    start = time.perf_counter()
    try:
        compiled = target.compile(function, *shapes)
    except JaxRuntimeError as error:
        return {"refused": str(error).splitlines()[0][:200]}
    seconds = time.perf_counter() - start
    return {**figures(compiled), "compile_seconds": float(f"{seconds:.2g}")}


def _told(found: dict[str, Figures]) -> str:
    ours = found["ours"]
    if "refused" in ours:
        return ours["refused"]
    return (
        f"{ours['kernels']} kernels, {ours['bytes'] / found['floor']['bytes']:.2f} times the floor"
    )


def measured(
    programs: Sequence[tuple[str, Cell, str]], names: Sequence[str] = contestants.NAMES
) -> list[Record]:
    """A record for each target, cell and pass, with the figures of the floor and of everybody."""
    records = []
    for place, (target_name, of_grid, which) in enumerate(programs):
        target = TARGETS[target_name]
        cell = sized(of_grid, target)
        found = {name: compiled_figures(target, cell, which, name) for name in ("floor", *names)}
        named = f"{target.title}, {cell.title} {cell.dtype}, {which}"
        say(f"{place + 1}/{len(programs)} {named}: {_told(found)}")
        records.append(
            {"target": target_name, "cell": cell.record(), "pass": which, "programs": found}
        )
    return records
