"""The page on Equinox: its blocks run, and the numbers of its table are those measured."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import program_of
from tests.interop.equinox_differences import NUMBERS, measured

PAGE = Path(__file__).parents[2] / "docs" / "interop-equinox.md"

# How the page writes a number, and which row of its table holds it (`half` fills two).
PLAIN, FINE, TEXT = "{:.3g}".format, "{:.1e}".format, str
ROWS = [
    ("evaluation after 1 step", PLAIN),
    ("evaluation after 100 steps", PLAIN),
    ("evaluation before training", PLAIN),
    ("large mean, LayerNorm", FINE),
    ("large mean, BatchNorm", FINE),
    ("half", TEXT),
    ("half", FINE),
    ("half in ema", TEXT),
    ("float32 for a bfloat16 state", TEXT),
    ("integers", PLAIN),
    ("complex", PLAIN),
    ("single samples", PLAIN),
    ("large numbers", PLAIN),
]


def rows_of_table():
    """What stands under "here" and under "Equinox", row by row."""
    text = PAGE.read_text(encoding="utf-8")
    table = text.split("<!-- differences -->")[1].split("<!-- end of differences -->")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")[1:]) for line in lines]


def values(cell):
    """The numbers of a cell; text where it holds none."""
    try:
        return [float(part) for part in cell.split(",")]
    except ValueError:
        return [cell]


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, with JAX's own promotion, unwarned."""
    source = program_of(PAGE)
    assert source.count("assert") >= 3
    script = tmp_path / "page.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ".layers[1]: equinox BatchNorm replaced (4 channels, mode batch)" in done.stdout


@pytest.mark.parametrize(
    "index", range(len(ROWS)), ids=[f"{name}-{i}" for i, (name, _) in enumerate(ROWS)]
)
def test_table_holds_what_is_measured(index):
    """Each number of the table is measured anew, to the digits that it is written with.

    Small errors are rounding, which differs between processors: they are held to a factor of 4.
    """
    name, form = ROWS[index]
    assert len(rows_of_table()) == len(ROWS)
    for cell, number in zip(rows_of_table()[index], measured(name), strict=True):
        if name == "half":
            number = number[0] if form is TEXT else number[1]
        if form is TEXT:
            assert cell == number
        elif form is FINE:
            assert float(cell) / 4 < number < 4 * float(cell)
        else:
            found = number if isinstance(number, list) else [number]
            assert values(cell) == pytest.approx(found, abs=0.006, rel=0.005)


def test_what_is_measured_is_told():
    """Nothing that is measured is missing in the table; both group and layer norm have one row."""
    assert {name for name, _ in ROWS} | {"large mean, GroupNorm"} == set(NUMBERS)
    for layer, group in zip(
        measured("large mean, LayerNorm"), measured("large mean, GroupNorm"), strict=True
    ):
        assert layer / 4 < group < 4 * layer
