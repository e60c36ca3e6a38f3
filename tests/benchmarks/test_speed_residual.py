"""A residual and its norm in the speed benchmark: what is timed is right, and told as a ratio."""

import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.marked_part import marks, part_of
from benchmarks.speed import page, residual, tables
from benchmarks.speed.cells import Cell, data
from benchmarks.speed.contestants import CONTESTANTS
from tests.benchmarks import made_up
from tests.conftest import import_peer

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_everybody_agrees_with_the_formulas(kind):
    """y, and the gradients of x and of the parameters that both results send back.

    The gradient of the residual, which stands beside that of x, has its bits.
    """
    cell = Cell(kind, (5, 24), "float32")
    drawn = data(cell)
    found = residual.entrants(CONTESTANTS, cell)
    assert list(found) == ["one_pass", "ours", "ours_xla", "flax", "equinox", "haiku", "torch"]
    for name, contestant in found.items():
        import_peer(contestant.requires)
        for which in ("forward", "both"):
            told = residual.checked(name, contestant, cell, which, drawn)
            assert told == (None, None), name
        made = residual.program(name, contestant, cell, "both", drawn, queued=False)
        total, _, dx, of_residual, *_ = made.results()
        np.testing.assert_allclose(total, drawn.x + drawn.g, rtol=1e-6)
        np.testing.assert_array_equal(dx, of_residual)


def test_half_types_have_the_norm_of_the_rounded_sum_as_well():
    """It agrees with the formulas as a norm of r does, and is not that of the sum."""
    cell = Cell("layer", (5, 24), "bfloat16")
    drawn = data(cell)
    found = residual.entrants(CONTESTANTS, cell)
    assert list(found)[:3] == ["one_pass", "one_pass_of_rounded", "ours"]
    told = residual.checked("one_pass_of_rounded", CONTESTANTS["ours"], cell, "both", drawn)
    assert told == (None, None)
    programs = [
        residual.program(name, CONTESTANTS["ours"], cell, "both", drawn, queued=False).results()
        for name in list(found)[:2]
    ]
    (r, y, *_), (r_too, y_of_r, *_) = programs
    np.testing.assert_array_equal(r, r_too)
    assert (y != y_of_r).any()


def test_who_is_wrong_is_found_out(monkeypatch):
    """Another's is not timed; ours ends the run."""
    cell = Cell("layer", (5, 24), "float32")
    drawn = data(cell)
    double = replace(CONTESTANTS["flax"], norm=lambda cell: lambda x, *parameters: x + x)
    assert "y is off by" in residual.checked("flax", double, cell, "forward", drawn).wrong
    monkeypatch.setattr(
        residual, "in_one_pass", lambda cell, _: lambda x, r, *parameters: (r, x + r)
    )
    with pytest.raises(RuntimeError, match="residual"):
        residual.checked("one_pass", CONTESTANTS["ours"], cell, "both", drawn)


RESULTS = made_up.results(
    {
        "residual": [
            {
                "cell": Cell("rms", (8, 64), "bfloat16").record(),
                "pass": "both",
                "seconds": {"one_pass": [0.5, 0.5], "ours": [0.75, 0.75], "torch": [1.0, 1.0]},
                "wrong": {"flax": "y is off"},
            }
        ]
    }
)


def test_the_table_tells_ratios_to_one_pass():
    """Milliseconds of the one pass, then the others' sums and norms over it."""
    (table,) = tables.residual_table(RESULTS)
    assert table.head == ["", "ours, one pass, ms", "ours", "torch"]
    (row,) = table.rows
    assert row[0] == "RMS norm 8×64 bfloat16, forward + backward"  # noqa: RUF001 (as it is drawn)
    assert [text.split()[0] for text in row[1:]] == ["500", "1.50", "2.00"]
    assert table in tables.all_tables(RESULTS)
    assert tables.residual_table({"sections": {}}) == []


# Who was wrong is named, as in the grid.
PROBLEM = """
Not timed:

- flax, a residual and RMS norm 8×64 bfloat16, forward + backward: y is off
"""  # noqa: RUF001 (as it is drawn)


def test_it_stands_in_both_pages(tmp_path, monkeypatch):
    """In the one on speed with all tables, in the one on residuals alone, with the machine."""
    for attribute, name in (("PAGE", page.part_name("cpu")), ("RESIDUAL_PAGE", "times")):
        start, end = marks(name)
        file = tmp_path / attribute
        file.write_text(f"before\n{start}\nold\n{end}\nafter\n", encoding="utf-8")
        monkeypatch.setattr(page, attribute, file)
    page.write(RESULTS, "some.json")
    text = (tmp_path / "PAGE").read_text(encoding="utf-8")
    part = part_of(text, page.part_name("cpu"))
    assert "### A residual and its norm" in part
    assert PROBLEM in part
    text = (tmp_path / "RESIDUAL_PAGE").read_text(encoding="utf-8")
    assert text.startswith("before\n")
    part = part_of(text, "times")
    assert "1.50 (1.50" in part
    assert PROBLEM in part
    told = "2026-01-02: a processor, 2 cores; jax 1.2."
    assert part.endswith(f"Made from `benchmarks/results/some.json`. {told}")


def test_the_page_is_what_its_results_say():
    """The committed page and the committed file of results can't differ."""
    shown = part_of(page.RESIDUAL_PAGE.read_text(encoding="utf-8"), "times")
    (source,) = re.findall(r"^Made from `benchmarks/results/(.+?)`", shown, re.MULTILINE)
    assert shown == page.residual_part(page.load(page.RESULTS / source), source)
