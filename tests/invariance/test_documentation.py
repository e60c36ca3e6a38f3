"""The page tells what is promised, and the program that measures the formulas has written it."""

from pathlib import Path

from benchmarks.invariance import ROWS
from benchmarks.marked_part import part_of

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_there():
    """A line for each formula and width, written by the program, and what it was measured with."""
    page = (DOCS / "batch-invariance.md").read_text(encoding="utf-8")
    table = part_of(page, "measured")
    for title, _, examples, _ in ROWS:
        assert table.count(f"| {title} |") == len(examples)
    assert "Measured on the CPU" in table


def test_pages_are_reached_from_the_readme():
    """And what they name is in the repository."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for name in ("batch-invariance.md", "check.md"):
        assert f"(docs/{name})" in readme
    assert (DOCS.parent / "tests" / "invariance").is_dir()
