"""The pages on other frameworks: their Python blocks run, each page as one program."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import program_of

ROOT = Path(__file__).parents[2]
PAGES = {"interop": ("flax", "optax")}


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page, tmp_path, peer):
    """The blocks run in a fresh process, with JAX's own settings, and no warning."""
    for library in PAGES[page]:
        peer(library)
    script = tmp_path / f"{page}.md.py"
    script.write_text(program_of(ROOT / "docs" / f"{page}.md"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
