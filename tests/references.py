"""The float64 reference of each operation, from the layout that says what its slices are."""

from tests import oracle
from tests.layouts import Layout

Reference = oracle.Normalization | oracle.FixedStatistics | oracle.ResidualSum


def rows(layout: Layout) -> oracle.Normalization:
    """Slices over `axis`."""
    return oracle.Normalization(oracle.slices(layout.shape, layout.static.get("axis", -1)))


def uncentred(layout: Layout) -> oracle.Normalization:
    """Slices over `axis`, whose mean is not subtracted."""
    return oracle.Normalization(rows(layout).positions, centred=False)


def offset(layout: Layout) -> oracle.OffsetScale:
    """As uncentred, with a scale that is stored as its distance from 1."""
    return oracle.OffsetScale(rows(layout).positions, centred=False)


def sum_of_rows(layout: Layout) -> oracle.ResidualSum:
    """Slices over `axis` of the sum with a residual."""
    return oracle.ResidualSum(rows(layout))


def sum_uncentred(layout: Layout) -> oracle.ResidualSum:
    """The same, whose mean is not subtracted."""
    return oracle.ResidualSum(uncentred(layout))


def groups(layout: Layout) -> oracle.Normalization:
    """Slices over `axis`, whose last is split into groups."""
    return oracle.Normalization(
        oracle.slices(layout.shape, layout.static.get("axis", -1), layout.static["groups"])
    )


def uncentred_groups(layout: Layout) -> oracle.Normalization:
    """As groups, whose means are not subtracted."""
    return oracle.Normalization(groups(layout).positions, centred=False)


def batch(layout: Layout) -> oracle.Normalization:
    """A slice for each channel."""
    return oracle.Normalization(oracle.slices(layout.shape, range(len(layout.shape) - 1)))


def weighted_batch(layout: Layout) -> oracle.Weighted:
    """A slice for each channel, whose samples have weights."""
    return oracle.Weighted(batch(layout).positions)


def weighted(layout: Layout) -> oracle.Weighted:
    """As pooled, of elements with weights."""
    return oracle.Weighted(pooled(layout).positions)


def first_axis(layout: Layout) -> oracle.Normalization:
    """Slices over the first axis."""
    return oracle.Normalization(oracle.slices(layout.shape, 0))


def pooled(layout: Layout) -> oracle.Normalization:
    """Slices over `axis`, which stay as axes of length 1 where `keepdims` is set."""
    positions = rows(layout).positions
    if layout.static.get("keepdims"):
        axes = {a % len(layout.shape) for a in layout.static["axis"]}
        kept = tuple(1 if a in axes else n for a, n in enumerate(layout.shape))
        positions = positions.reshape(*kept, positions.shape[-1])
    return oracle.Normalization(positions)


def fixed(layout: Layout) -> oracle.FixedStatistics:
    """No slices: the statistics are arguments."""
    return oracle.FixedStatistics()
