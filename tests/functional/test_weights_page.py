"""The page on normalized weights: its Python blocks run."""

from pathlib import Path

from tests.documentation import run_as_a_program

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, and what they print is there."""
    assert "64 steps: " in run_as_a_program(PAGE, tmp_path, asserts=12)
