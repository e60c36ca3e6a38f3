"""The table in plain text, line by line as measurements come in."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .accuracy import Accuracy, Measured
from .speed import Speed

Write = Callable[[str], None]


class Column(NamedTuple):
    """A column: its title, and how wide it is; text to the left, numbers to the right."""

    title: str
    width: int
    right: bool = True


LAYER = (Column("layer", 26, False), Column("dtype", 9, False))
PROMISES = (
    *LAYER,
    Column("runs on", 8, False),
    Column("y", 8),
    Column("bound", 6),
    Column("dx", 8),
    Column("bound", 6),
    Column("alone = in a batch", 19),
)
TIMES = (
    *LAYER,
    Column("forward", 10),
    Column("textbook", 9),
    Column("copy", 7),
    Column("and backward", 13),
    Column("textbook", 9),
    Column("copy", 7),
)


def line(columns: Sequence[Column], cells: Sequence[str]) -> str:
    """A line of a table."""
    parts = (
        cell.rjust(column.width) if column.right else cell.ljust(column.width)
        for column, cell in zip(columns, cells, strict=True)
    )
    return " ".join(parts).rstrip()


def titles(columns: Sequence[Column]) -> str:
    """The first line of a table."""
    return line(columns, [column.title for column in columns])


def number(value: float) -> str:
    """An error in a few digits."""
    if value < 100:
        return f"{value:.2f}"
    return f"{value:.0e}".replace("e+0", "e")


def told(same: bool | None, promised: bool) -> str:
    """What became of the bits of a row; None where a batch is normalized together."""
    if same is None:
        return "-"
    if same:
        return "same bits"
    return "NOT THE SAME BITS" if promised else "not promised"


def promises(layer: str, dtype: str, found: Accuracy, same: bool | None, promised: bool) -> str:
    """The line of a layer and dtype in the table of promises."""

    def cells(measured: Measured) -> tuple[str, str]:
        return number(measured.error), number(measured.limit) + ("" if measured.kept else "!")

    return line(
        PROMISES,
        [layer, dtype, found.backend, *cells(found.y), *cells(found.dx), told(same, promised)],
    )


def milliseconds(seconds: float) -> str:
    """A time."""
    return f"{1e3 * seconds:.3g} ms"


def times(layer: str, dtype: str, forward: Speed, both: Speed) -> str:
    """The line of a layer and dtype in the table of times."""
    cells = [layer, dtype]
    for found in (forward, both):
        cells += [milliseconds(found.ours)]
        cells += [f"{found.ours / other:.2f}" for other in (found.textbook, found.copy)]
    return line(TIMES, cells)
