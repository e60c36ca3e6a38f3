"""Whether the programs are within the bars."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..speed.cells import GRID, Cell, from_record
from .bars import BARS, CHECKED
from .targets import TARGETS

Record = dict[str, Any]
ORDER = ("forward", "backward", "both")
FIGURES = ("kernels", "bytes", "cycles")
Program = tuple[str, Cell, str]


class Broken(NamedTuple):
    """A figure above its bar."""

    program: str
    figure: str
    bar: float
    found: float

    def __str__(self) -> str:
        """In a line."""
        told = {
            "kernels": "kernels",
            "bytes": "times the floor's bytes",
            "cycles": "times the floor's cycles",
        }[self.figure]
        return f"{self.program}: {self.found:g} {told}, at most {self.bar:g} are asked"


def key(cell: Cell) -> tuple[str, tuple[int, ...], str]:
    """How a cell of the grid is named in the bars: images and rows are not counted."""
    return cell.kind, cell.shape[1:], cell.dtype


def found_in(record: Record, name: str = "ours") -> tuple[float, ...] | None:
    """Kernels, bytes and, on TPU, cycles, the latter two over the floor's, to two digits."""
    ours, floor = record["programs"][name], record["programs"]["floor"]
    if "refused" in ours:
        return None
    # Upwards: what is told is then kept.
    ratios = [_up(ours[figure] / floor[figure]) for figure in FIGURES[1:] if floor[figure]]
    return ours["kernels"], *ratios


def _up(ratio: float) -> float:
    return math.ceil(100 * ratio - 1e-6) / 100


def bar_of(record: Record) -> tuple[float, ...] | None:
    """What is asked of a record; None where nothing is."""
    of_cell = BARS[record["target"]].get(key(from_record(record["cell"])))
    return None if of_cell is None else of_cell[ORDER.index(record["pass"])]


def broken(records: Iterable[Record]) -> list[Broken]:
    """Every figure above its bar; a program that the compiler refuses is above all."""
    lines = []
    for record in records:
        asked = bar_of(record)
        if asked is None:
            continue
        cell = from_record(record["cell"])
        named = f"{TARGETS[record['target']].title}, {cell.title} {cell.dtype}, {record['pass']}"
        found = found_in(record) or (math.inf,) * len(asked)
        for figure, bar, value in zip(FIGURES, asked, found, strict=False):
            if value > bar:
                lines.append(Broken(named, figure, bar, value))
    return lines


def checked() -> list[Program]:
    """The programs of the short form."""
    wanted = {(target, *rest) for target, cells in CHECKED.items() for rest in cells}
    return [
        (target, cell, which)
        for target in TARGETS
        for cell in GRID
        for which in ORDER
        if (target, *key(cell), which) in wanted
    ]


def source(records: Iterable[Record]) -> str:
    """What was found, as the lines of `BARS`."""
    by_cell: dict[str, dict[Any, dict[str, Any]]] = {}
    for record in records:
        of_target = by_cell.setdefault(record["target"], {})
        of_cell = of_target.setdefault(key(from_record(record["cell"])), {})
        of_cell[record["pass"]] = found_in(record)
    lines = []
    for target, cells in by_cell.items():
        lines.append(f'    "{target}": {{')
        for name, passes in cells.items():
            figures = ", ".join(str(passes.get(which)) for which in ORDER)
            lines.append(f"        {name}: ({figures}),".replace("'", '"'))
        lines.append("    },")
    return "\n".join(lines)
