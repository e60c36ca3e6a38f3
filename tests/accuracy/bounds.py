"""The published bounds as the documentation shows them; `make accuracy` writes the tables there.

The numbers are the package's own (`inox.check.bounds`), since a user's check reads them, too.
"""

from collections.abc import Mapping

from benchmarks.markdown_table import markdown_table
from inox.check.bounds import BOUNDS, DOMINATED, KERNEL_BOUNDS, PRECISIONS


def kernel_markdown() -> str:
    """The table of the kernels, for the documentation."""
    rows = [[f"`{name}`", *_cells(limits)] for name, limits in KERNEL_BOUNDS.items()]
    return markdown_table(["result", *PRECISIONS], rows)


def markdown() -> str:
    """The table, for the documentation."""
    rows = [
        [f"`{name}`, {meaning}", f"`{unit}`", *_cells(limits)]
        for name, (meaning, unit, limits) in BOUNDS.items()
    ]
    table = markdown_table(["result", "unit of the error", *PRECISIONS], rows)
    factors = ", ".join(f"{factor:g} times these for {name}" for name, factor in DOMINATED.items())
    return (
        f"{table}\n\nWhere one element makes up most of a slice's variance, its rounding errors "
        f"don't average out: there the bounds above 1 are {factors}."
    )


def _cells(limits: Mapping[str, float]) -> list[str]:
    return [f"≤ {limits[column]:g}" for column in PRECISIONS]
