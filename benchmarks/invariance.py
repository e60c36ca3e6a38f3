"""Measure where the formulas give an example the same bits whatever stands beside it.

Writes the table of docs/batch-invariance.md: for each norm, width and dtype, in which company y or
dx of an example differ from those in the whole batch. The kernels promise that nothing does, and
the tests hold it; of the formulas this only tells what one version of XLA makes of them.
"""

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.markdown_table import markdown_table
from benchmarks.marked_part import with_part
from tests.invariance.batches import Program, companies, draw, run, violations
from tests.layouts import Layout
from tests.registry import OPERATIONS, Operation

PAGE = Path(__file__).resolve().parents[1] / "docs" / "batch-invariance.md"
DTYPES = ("float32", "bfloat16")
WIDTHS = tuple(Layout((width,)) for width in (36, 100, 256, 768, 4096))
IMAGE = {"axis": (-3, -2)}
# Title, operation, examples, whether rows are masked.
ROWS = (
    ("layer norm", "layer_norm", WIDTHS, False),
    ("layer norm, with a mask", "layer_norm", WIDTHS[::3], True),
    ("RMS norm", "rms_norm", WIDTHS[::3], False),
    ("group norm, per position", "group_norm", (Layout((6, 48), {"groups": 4}),), False),
    (
        "group norm, per image",
        "group_norm",
        (Layout((8, 9, 48), {"groups": 4, "axis": (-3, -2, -1)}),),
        False,
    ),
    ("instance norm", "layer_norm", (Layout((8, 9, 48), IMAGE),), False),
    ("batch norm in evaluation mode", "batch_norm_given", (Layout((100,)),), False),
)
# How the companies that a violation names are told in the table.
TOLD = {
    "examples": "another number of rows",
    "among": "another number of rows",
    "reversed": "another place",
    "moved": "another place",
    "beside": "other neighbours",
    "vmap": "`vmap`",
    "between": "inside a program",
}


def with_mask(operation: Operation, example: Layout) -> Program:
    """The norm under a mask of whole examples, of those that are numbers."""

    def call(x, dy, shared):
        trained = {name: shared[name] for name in ("scale", "bias") if name in shared}
        where = jnp.isfinite(x).all(range(1, x.ndim), keepdims=True)

        def y(x, trained):
            arrays = {"x": x, **trained, "epsilon": shared["epsilon"]}
            static = {**example.static, "implementation": "xla"}
            return operation.call(arrays, where, **static)["y"]

        value, pull = jax.vjp(y, x, trained)
        return {"y": value, "dx": pull(dy)[0]}

    return call


def differences(operation: Operation, example: Layout, dtype: str, masked: bool) -> str:
    """In which companies an example's bits differ, in words."""
    batch = draw(operation, example, jnp.dtype(dtype))
    call = with_mask(operation, example) if masked else run(operation, example, "xla")
    found = [line.split(", ", 1) for line in violations(companies(call, batch))]
    told: dict[str, set[str]] = {}
    for result, company in found:
        told.setdefault(TOLD[company.split()[0]], set()).add(result)
    cells = [
        company if results == {"y", "dx"} else f"{company} ({', '.join(results)})"
        for company, results in told.items()
    ]
    return "; ".join(cells) or "same bits"


def rows() -> Iterator[list[str]]:
    """Those of the table, each printed when it is known."""
    named = {operation.name: operation for operation in OPERATIONS}
    for title, name, examples, masked in ROWS:
        for example in examples:
            width = " x ".join(map(str, example.shape))
            cells = [differences(named[name], example, dtype, masked) for dtype in DTYPES]
            print(title, width, *cells, sep=", ", flush=True)
            yield [title, width, *cells]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.invariance", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--no-write", action="store_true", help="print the rows alone")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    table = markdown_table(["formula", "width", *DTYPES], rows())
    where = f"{platform.machine()}, jax {jax.__version__}, NumPy {np.__version__}"
    table += f"\n\nMeasured on the CPU ({where})."
    if not arguments.no_write:
        page = with_part(PAGE.read_text(encoding="utf-8"), "measured", table)
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
