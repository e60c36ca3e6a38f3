"""Rows seen by other leading dimensions, which to XLA's compiler are other rows.

What two expressions of one program have in common it computes once. A reduction of x and one of a
view of it, with a dimension split in two or all of them merged, it doesn't take for the same.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

# Of rows that one kernel sums: how many numbers there are at most, and from how many rows on it is
# worth it, and enough.
TILE, FEWEST, ENOUGH = 4096, 4, 16

Rows = tuple[int, ...]


class Views(NamedTuple):
    """By which leading dimensions rows are seen.

    Args:
        of_dx: For the gradient of x.
        of_sums: For the terms of the scale's; None where too few could be summed at once.
        summed: Which of `of_sums` is summed first.
    """

    of_dx: Rows
    of_sums: Rows | None = None
    summed: int = 0


def views(rows: Rows, length: int) -> Views | None:
    """Dimensions for rows of so many numbers, not x's own; None where there are no others."""
    rows = tuple(n for n in rows if n > 1)
    of_sums, summed = _of_sums(rows, TILE // length) or (None, 0)
    of_dx = next((found for found in _splits(rows) if found not in (rows, of_sums)), None)
    if of_dx is None and len(rows) > 1:
        of_dx = (math.prod(rows),)
    return None if of_dx is None else Views(of_dx, of_sums, summed)


def _of_sums(rows: Rows, most: int) -> tuple[Rows, int] | None:
    """The view for sums, and what is summed first: the last dimension with enough, or a part."""
    parts = [max((n for n in range(1, min(d, most) + 1) if d % n == 0), default=1) for d in rows]
    enough = [place for place, part in enumerate(parts) if part >= ENOUGH]
    place = enough[-1] if enough else max(range(len(rows)), key=parts.__getitem__, default=-1)
    if place < 0 or parts[place] < FEWEST:
        return None
    after, d, part = rows[place + 1 :], rows[place], parts[place]
    if part < d:
        return (*rows[:place], d // part, part, *after), place + 1
    for before in _splits(rows[:place]):
        return (*before, d, *after), len(before)
    for behind in _splits(after):
        return (*rows[: place + 1], *behind), place
    for a, b in _factors(d):
        if a >= FEWEST:
            return (*rows[:place], b, a, *after), place + 1
    return rows, place


def _splits(rows: Rows) -> Iterator[Rows]:
    """The same with one dimension as two, the last ones first."""
    for place in reversed(range(len(rows))):
        for factors in _factors(rows[place]):
            yield (*rows[:place], *factors, *rows[place + 1 :])


def _factors(n: int) -> Iterator[tuple[int, int]]:
    """Pairs of factors above 1, the larger one first, the nearest to each other first."""
    for small in range(math.isqrt(n), 1, -1):
        if n % small == 0:
            yield n // small, small
