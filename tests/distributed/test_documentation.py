"""The page on devices: its Python blocks run, its links lead somewhere, its table is computed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import run_as_a_program
from tests.user_environment import user_environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "distributed.md"
BYTES = ROOT / "examples" / "distributed" / "bytes_sent.py"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, as a user runs it."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=user_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, with JAX's own settings, and no warning."""
    run_as_a_program(PAGE, tmp_path, asserts=8)


def test_links_and_programs_are_there():
    """Every picture, page and program that the page names is in the repository."""
    text = PAGE.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    programs = re.findall(r"python (examples/\S+?\.py)", text)
    assert len(links) >= 4
    assert len(set(programs)) == 3
    for path in [PAGE.parent / link for link in links] + [ROOT / name for name in programs]:
        assert path.is_file(), path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory):
    """The program of the table for four devices, with a copy of the page."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("measured")
    page = folder / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    done = run(folder, str(BYTES), "--devices", "4", "--page", str(page))
    return done, page.read_text(encoding="utf-8")


def test_arithmetic_is_what_is_compiled(measured):
    """On four devices, each layer's collectives have the bytes of the arithmetic.

    With more rows and with more channels too. The other numbers of devices of the page are left
    to the program.
    """
    done, _ = measured
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Arithmetic and compiled programs agree." in done.stdout


def test_table_is_the_one_that_is_computed(measured):
    """The page has the program's table, and its last line is what pencil and paper give."""
    _, page = measured
    assert page == PAGE.read_text(encoding="utf-8")
    # By a ring each device sends nearly twice what is added up: 3 and 2 numbers a channel forward,
    # 4 backward.
    sums = (3 + 2 + 4) * 512 * 4 * 2 * 9_999 / 10_000
    (line,) = (line for line in page.splitlines() if line.startswith("| batch, `axis_name` |"))
    assert line.endswith(f"| {sums / 1e3:.3g} kB |")
