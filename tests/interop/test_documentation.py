"""The pages on other frameworks: their Python blocks run, each page as one program."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.documentation import program_of

ROOT = Path(__file__).parents[2]


class Page(NamedTuple):
    """What a page needs, how often it asserts something, and a line that it prints."""

    libraries: tuple[str, ...]
    asserts: int
    prints: str = ""


PAGES = {
    "interop": Page(("flax", "optax"), 1, "layers.1: LayerNorm replaced\n"),
    "interop-equinox": Page(
        ("equinox",), 3, ".layers[1]: equinox BatchNorm replaced (4 channels, mode batch)\n"
    ),
    "interop-haiku": Page(("haiku", "optax"), 4),
}


@pytest.mark.parametrize("name", PAGES)
def test_blocks_run(name, tmp_path, peer):
    """The blocks run in a fresh process, with JAX's own settings, and no warning."""
    page = PAGES[name]
    for library in page.libraries:
        peer(library)
    source = program_of(ROOT / "docs" / f"{name}.md")
    assert source.count("assert") >= page.asserts
    script = tmp_path / f"{name}.md.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert page.prints in done.stdout
