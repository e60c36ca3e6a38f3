"""A part of a page that a program writes, between two marks that name it."""


def marks(name: str) -> tuple[str, str]:
    """The lines around a part."""
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def with_part(page: str, name: str, content: str) -> str:
    """The page with a part exchanged."""
    start, end = marks(name)
    before, rest = page.split(start)
    return f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"


def part_of(page: str, name: str) -> str:
    """A part as it stands in the page."""
    start, end = marks(name)
    return page.split(start)[1].split(end)[0].strip("\n")
