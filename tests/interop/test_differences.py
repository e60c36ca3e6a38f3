"""The table of differences in docs/interop.md: what it says is so, and nothing is missing."""

from pathlib import Path

import equinox  # noqa: F401 (the table is measured where all frameworks are)
import flax  # noqa: F401 (likewise)
import haiku  # noqa: F401 (likewise)
import pytest

from benchmarks.differences.difference import tells
from benchmarks.differences.registry import DIFFERENCES, SPACES
from benchmarks.marked_part import part_of

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"


def start_of(difference):
    """What a row of the table starts with."""
    return f"| {difference.framework} | {difference.layer} | {difference.situation} | "


def rows():
    """The rows of the table, without its head."""
    lines = part_of(PAGE.read_text("utf-8"), "differences").splitlines()
    return [line for line in lines[2:] if line.startswith("|")]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda d: start_of(d).strip("| "))
@pytest.mark.filterwarnings("ignore")  # theirs warn of what the table tells
@pytest.mark.usefixtures("standard_promotion")
def test_a_difference_is_as_told(difference):
    """Ours is right, theirs is not, and the page has the row with both as they are measured."""
    theirs, ours = map(difference.measure, SPACES[difference.framework])
    assert difference.right(ours)
    assert not difference.right(theirs)
    start = start_of(difference)
    (row,) = [row for row in rows() if row.startswith(start)]
    their_cell, our_cell = row.removeprefix(start).removesuffix(" |").split(" | ")
    assert tells(their_cell, theirs)
    assert tells(our_cell, ours)


def test_the_page_has_no_other_row():
    """What is no difference any more leaves the page, and the rows stand as they are registered."""
    assert len(rows()) == len(DIFFERENCES)
    for row, difference in zip(rows(), DIFFERENCES, strict=True):
        assert row.startswith(start_of(difference))
