"""The page on residuals: its Python blocks run, and its table stands in it."""

from pathlib import Path

from benchmarks.marked_part import part_of
from tests.documentation import run_as_a_program

PAGE = Path(__file__).parents[2] / "docs" / "residual.md"


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, with JAX's promotion, and no warning."""
    run_as_a_program(PAGE, tmp_path, asserts=7)


def test_the_table_is_there():
    """`make bench` has written it: two dtypes, two shapes, two passes at least."""
    rows = part_of(PAGE.read_text(encoding="utf-8"), "times").splitlines()
    assert sum("float" in row and "forward" in row for row in rows) >= 8
