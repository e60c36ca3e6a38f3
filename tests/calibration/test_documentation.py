"""The page on batch statistics: its Python blocks run, its pictures and commands are there."""

import re
from pathlib import Path

import pytest

from tests.documentation import run_as_a_program

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "batch-statistics.md"


def test_blocks_run(tmp_path, peer):
    """The blocks run as one program in a fresh process, with JAX's own promotion, and no warning.

    But for the one that Orbax raises: it logs by a method that the standard library deprecates.
    """
    pytest.importorskip("orbax.checkpoint")
    quiet = ("-W", "ignore::DeprecationWarning")
    assert "z of the mean" in run_as_a_program(PAGE, tmp_path, *quiet, asserts=10)


def test_pictures_and_programs_are_there():
    """Every picture and every program that the page names is in the repository."""
    text = PAGE.read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((images/\S+)\)", text)
    programs = re.findall(r"`python (\S+?\.py)", text)
    assert len(pictures) == 6
    assert len(programs) == 7
    for path in [PAGE.parent / name for name in pictures] + [ROOT / name for name in programs]:
        assert path.is_file(), path
