"""The page on presets: its Python blocks run, and its tables stand in it."""

import subprocess
import sys
from pathlib import Path

from benchmarks.marked_part import part_of
from tests.documentation import program_of

PAGE = Path(__file__).parents[2] / "docs" / "presets.md"


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, with JAX's promotion, and no warning."""
    source = program_of(PAGE)
    assert source.count("assert") >= 7
    script = tmp_path / "presets.md.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_tables_are_there():
    """The program that measures has written both, and nothing else did."""
    page = PAGE.read_text(encoding="utf-8")
    families = part_of(page, "agreement")
    assert all(name in families for name in ("Llama", "Gemma", "T5X", "OLMo 2"))
    assert part_of(page, "cost").count("\n| ") == 9
