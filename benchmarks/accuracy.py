"""Measure the rounding errors of our norms beside those of other libraries.

Prints a table of worst errors, puts it with versions and date into
docs/accuracy.md along with the table of bounds, and draws docs/images/accuracy.png.
"""

import argparse
import platform
from datetime import date
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import accuracy_figure, accuracy_peers
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_part import with_part
from inox.check.bounds import bound
from tests.accuracy import bounds, cases
from tests.accuracy.layouts import batch, layer
from tests.accuracy.metric import errors

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "accuracy.md"
FIGURE = ROOT / "docs" / "images" / "accuracy.png"

CASES = (
    cases.Case("mean/std 0", cases.gaussian()),
    cases.Case("mean/std 1e2", cases.gaussian(1e2)),
    cases.Case("mean/std 1e4", cases.gaussian(1e4)),
    cases.Case("mean/std 1e7", cases.gaussian(1e7)),
    cases.Case("one element 1e6", cases.with_outlier(0, 1e6)),
    cases.Case("constant", cases.constant(1e-3, 1e4)),
    cases.Case("std 1e14", cases.gaussian(0, 1e14)),
    cases.Case("up to 1e18", cases.uniform(1e18)),
)
# Title, layout, which of a library's two norms, dtype.
TABLES = (
    ("Layer norm, float32", layer("layer", (64, 768), (-1,)), 0, "float32"),
    ("Batch norm, float32", batch("batch", (768, 64)), 1, "float32"),
    ("Layer norm, bfloat16", layer("layer", (64, 768), (-1,)), 0, "bfloat16"),
)


def measure(norm: accuracy_peers.Norm, layout: Any, data: cases.Operands) -> dict[str, float]:
    """The worst errors of y and dx."""
    y, dx = norm(data.x, data.scale, data.bias, data.dy)
    exact = layout.exact(data.x, data.dy, data.scale, data.bias, data.epsilon)
    # Some promote bfloat16 with float32 parameters: the errors are those of the dtype of x.
    y, dx = (np.asarray(a).astype(data.x.dtype) for a in (y, dx))
    return errors(exact, data.scale, y=y, dx=dx)


def told(error: float) -> str:
    """A number short enough for a table."""
    if not np.isfinite(error):
        return "NaN or inf"
    return f"{error:.2g}" if error < 100 else f"{error:.0e}".replace("e+0", "e")


def tables(libraries: dict[str, Any]) -> str:
    """Worst errors of y / dx, a table for each norm and dtype."""
    parts = []
    for title, layout, which, dtype in TABLES:
        rows = []
        for case in CASES:
            cells = []
            for norms in libraries.values():
                rng = np.random.default_rng(0)
                found = measure(norms[which], layout, cases.operands(case, layout, dtype, rng))
                cells.append(f"{told(found['y'])} / {told(found['dx'])}")
            rows.append([case.name, *cells])
            print(title, *rows[-1], sep=", ", flush=True)
        parts.append(markdown_table([title, *libraries], rows))
    return "\n\n".join(parts)


def sweep(libraries: dict[str, Any]) -> None:
    """The figure."""
    layout = TABLES[0][1]
    ratios = 10.0 ** np.arange(-1, 7.5, 0.5)
    found: dict[str, dict[str, list[float]]] = {"y": {}, "dx": {}}
    for name, norms in libraries.items():
        for ratio in ratios:
            data = cases.operands(
                cases.Case("", cases.gaussian(ratio)), layout, "float32", np.random.default_rng(0)
            )
            for result, error in measure(norms[0], layout, data).items():
                found[result].setdefault(name, []).append(error)
    limits = {result: bound(result, "float32") for result in found}
    accuracy_figure.draw(FIGURE, ratios, found, limits)


def denormals() -> str:
    """What the platform does with numbers below the least normal one, in and out of a norm."""
    tiny = np.float32(1e-40)
    doubled = jax.jit(lambda x: x * jnp.float32(2))(tiny)
    if np.asarray(doubled) == 0:
        return "flushes them to zero: `x * 2` of 1e-40 is 0"
    return f"keeps them: `x * 2` of 1e-40 is {np.asarray(doubled):.3g}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--no-write", action="store_true", help="print the table, leave the documentation alone"
    )
    arguments = parser.parse_args()
    libraries = accuracy_peers.installed()
    print("Worst errors of y / dx in ulp, against extended precision")
    measured = tables(libraries)
    print(f"The platform {denormals()}")
    if arguments.no_write:
        return
    sweep(libraries)
    page = PAGE.read_text(encoding="utf-8")
    page = with_part(page, "bounds", bounds.markdown())
    page = with_part(page, "kernel bounds", bounds.kernel_markdown())
    page = with_part(page, "measured", measured)
    where = f"{platform.machine()}, Python {platform.python_version()}"
    page = with_part(
        page,
        "versions",
        f"Measured on {date.today():%d %B %Y} on the CPU ({where}) with "
        f"{accuracy_peers.versions(list(libraries))}.",
    )
    page = with_part(page, "denormals", f"XLA on this CPU {denormals()}.")
    PAGE.write_text(page, encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}, {FIGURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
