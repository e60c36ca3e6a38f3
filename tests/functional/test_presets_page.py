"""The page on presets: its Python blocks run, and its tables stand in it."""

from pathlib import Path

from benchmarks.marked_part import part_of
from tests.documentation import run_as_a_program

PAGE = Path(__file__).parents[2] / "docs" / "presets.md"


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, with JAX's promotion, and no warning."""
    run_as_a_program(PAGE, tmp_path, asserts=7)


def test_tables_are_there():
    """The program that measures has written both, and nothing else did."""
    page = PAGE.read_text(encoding="utf-8")
    families = part_of(page, "agreement")
    assert all(name in families for name in ("Llama", "Gemma", "T5X", "OLMo 2"))
    assert part_of(page, "cost").count("\n| ") == 9
