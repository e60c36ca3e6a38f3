"""The page on batch statistics: its Python blocks run, its pictures and commands are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import program_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "batch-statistics.md"


def test_blocks_run(tmp_path, peer):
    """The blocks run as one program in a fresh process, with JAX's own promotion, and no warning.

    But for the one that Orbax raises: it logs by a method that the standard library deprecates.
    The code generator optimizes less than usual, which saves a third of the time.
    """
    pytest.importorskip("orbax.checkpoint")
    source = program_of(PAGE)
    assert source.count("assert") >= 10
    script = tmp_path / "batch-statistics.md.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(script)],
        cwd=tmp_path,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "z of the mean" in done.stdout


def test_pictures_and_programs_are_there():
    """Every picture and every program that the page names is in the repository."""
    text = PAGE.read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((images/\S+)\)", text)
    programs = re.findall(r"`python (\S+?\.py)", text)
    assert len(pictures) == 6
    assert len(programs) == 7
    for path in [PAGE.parent / name for name in pictures] + [ROOT / name for name in programs]:
        assert path.is_file(), path
