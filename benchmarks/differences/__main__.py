"""Measures every difference and writes the table."""

from importlib.metadata import version
from pathlib import Path

from benchmarks.markdown_table import markdown_table
from benchmarks.marked_part import with_part

from .difference import told
from .registry import DIFFERENCES, SPACES

MEASURED = ("jax", "flax", "equinox", "dm-haiku")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "interop.md"


def table() -> str:
    """A row for each difference, and of which releases they are."""
    rows = [
        (
            *(difference.framework, difference.layer, difference.situation),
            *(told(difference.measure(space)) for space in SPACES[difference.framework]),
        )
        for difference in DIFFERENCES
    ]
    lines = markdown_table(("framework", "layer", "situation", "its own", "ours"), rows)
    told_versions = ", ".join(f"{name} {version(name)}" for name in MEASURED)
    return f"{lines}\n\nMeasured on CPU with {told_versions}."


def main() -> None:
    """Writes the table into the page and prints it."""
    text = table()
    PAGE.write_text(with_part(PAGE.read_text("utf-8"), "differences", text), "utf-8")
    print(text)


if __name__ == "__main__":
    main()
