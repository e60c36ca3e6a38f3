"""The documentation shows the bounds that the tests hold."""

from pathlib import Path

from tests.accuracy.bounds import kernel_markdown, markdown

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"


def test_the_page_holds_the_tables_of_bounds():
    """`make accuracy` writes them there, that of the formulas and that of the kernels."""
    page = PAGE.read_text(encoding="utf-8")
    assert markdown() in page
    assert kernel_markdown() in page
