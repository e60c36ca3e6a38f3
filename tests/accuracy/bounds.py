"""The published bounds as the documentation shows them; `make accuracy` writes the tables there.

The numbers are the package's own (`inox.check.bounds`), since a user's check reads them, too.
"""

from inox.check.bounds import BOUNDS, DOMINATED, KERNEL_BOUNDS, PRECISIONS


def kernel_markdown() -> str:
    """The table of the kernels, for the documentation."""
    lines = ["| result | " + " | ".join(PRECISIONS) + " |", "|---" * (1 + len(PRECISIONS)) + "|"]
    for name, limits in KERNEL_BOUNDS.items():
        cells = [f"≤ {limits[column]:g}" for column in PRECISIONS]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown() -> str:
    """The table, for the documentation."""
    lines = [
        "| result | unit of the error | " + " | ".join(PRECISIONS) + " |",
        "|---" * (2 + len(PRECISIONS)) + "|",
    ]
    for name, (meaning, unit, limits) in BOUNDS.items():
        cells = [f"≤ {limits[column]:g}" for column in PRECISIONS]
        lines.append(f"| `{name}`, {meaning} | `{unit}` | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Where one element makes up most of a slice's variance, its rounding errors don't average "
        "out: there the bounds above 1 are "
        + ", ".join(f"{factor:g} times these for {name}" for name, factor in DOMINATED.items())
        + ".",
    ]
    return "\n".join(lines)
