"""The page on normalized weights: its Python blocks run."""

import os
import subprocess
import sys
from pathlib import Path

from tests.documentation import program_of

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, with JAX's promotion, and no warning.

    The code generator optimizes less than usual, which saves time.
    """
    source = program_of(PAGE)
    assert source.count("assert") >= 12
    script = tmp_path / "weights.md.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "64 steps: " in done.stdout
