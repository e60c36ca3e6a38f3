"""The documentation shows the bounds that the tests hold."""

from pathlib import Path

from tests.accuracy.bounds import markdown

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"


def test_the_page_holds_the_table_of_bounds():
    """`make accuracy` writes it there."""
    assert markdown() in PAGE.read_text(encoding="utf-8")
