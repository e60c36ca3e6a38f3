"""A table of Markdown, as the programs here write it into pages."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], align: Sequence[str | None] = ()
) -> str:
    """A table whose cells are as they are given, numbers among them.

    Cells are not padded, so that one that changes does not change the rows around it.

    Args:
        head: The heading of each column.
        rows: The text of each cell; an iterator is read once.
        align: For each column None, or "right", "center" or "left", which pads it.

    Returns:
        The lines, without a newline at the end.
    """
    return tabulate(
        rows, head, tablefmt="pipe", stralign=None, disable_numparse=True, colalign=align or None
    )
