"""The pages on other frameworks: their Python blocks run, each page as one program."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.documentation import run_as_a_program

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
    path = ROOT / "docs" / f"{name}.md"
    assert page.prints in run_as_a_program(path, tmp_path, asserts=page.asserts)
