"""The table of differences in docs/interop.md: what it says is so, and nothing is missing."""

from pathlib import Path

import flax  # noqa: F401 (the table is measured where all frameworks are)
import pytest

from benchmarks.differences.difference import told
from benchmarks.differences.registry import DIFFERENCES, SPACES
from benchmarks.marked_part import part_of

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda d: f"{d.framework} {d.situation}")
@pytest.mark.filterwarnings("ignore")  # theirs warn of what the table tells
@pytest.mark.usefixtures("standard_promotion")
def test_a_difference_is_as_told(difference):
    """Ours is right, theirs is not, and the page has the row with theirs as it is measured."""
    theirs, ours = map(difference.measure, SPACES[difference.framework])
    assert difference.right(ours)
    assert not difference.right(theirs)
    rows = part_of(PAGE.read_text("utf-8"), "differences").splitlines()
    (row,) = [
        row
        for row in rows
        if row.startswith(
            f"| {difference.framework} | {difference.layer} | {difference.situation} |"
        )
    ]
    if not isinstance(theirs, float):  # errors of rounding differ between machines
        assert row.split(" | ")[3] == told(theirs)


def test_the_page_has_no_other_row():
    """What is no difference any more leaves the page."""
    rows = part_of(PAGE.read_text("utf-8"), "differences").splitlines()
    assert len(rows) == len(DIFFERENCES) + 2
