"""What libtpu makes of the kernels for TPU, on a machine that has none: bytes and memory.

It needs libtpu beside jax (`pip install libtpu`), which compiles for chips that aren't there. For
each cell the compiled program is read: how many kernels stand in it, how many bytes its operations
move to and from HBM, in units of x, and how much VMEM the kernels take. None of this is a time.
"""

import argparse
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.markdown_table import markdown_table
from benchmarks.marked_part import with_part
from benchmarks.platforms.environment import set_variables
from benchmarks.platforms.kernels import kernels
from benchmarks.platforms.program import read
from benchmarks.platforms.targets import TARGETS

set_variables()  # before jax is imported, which is done late

PAGE = Path(__file__).parents[1] / "docs" / "tpu.md"
CHIPS = ("v5e", "v6e")
SHAPES = ((90112, 768), (16384, 4096), (4096, 16384), (512, 197, 768))
DTYPES = {"float32": 4, "bfloat16": 2}
MEMORY = re.compile(r'used_scoped_memory_configs":\[\{[^}]*"size":"(\d+)"')


def layer(x: Any, scale: Any, bias: Any) -> Any:
    """Layer norm."""
    from inox import functional

    return functional.layer_norm(x, scale, bias)


def rms(x: Any, scale: Any, bias: Any) -> Any:
    """RMS norm."""
    from inox import functional

    return functional.rms_norm(x, scale)


def both(norm: Callable[..., Any]) -> Callable[..., Any]:
    """Forward and backward."""
    import jax

    def run(x: Any, scale: Any, bias: Any, dy: Any) -> Any:
        y, pull = jax.vjp(norm, x, scale, bias)
        return y, pull(dy)

    return run


def compiled(chip: str, norm: Callable[..., Any], shape: tuple[int, ...], dtype: str) -> str:
    """The text of the program of forward and backward."""
    import jax

    x = jax.ShapeDtypeStruct(shape, dtype)
    parameter = jax.ShapeDtypeStruct(shape[-1:], "float32")
    return TARGETS[chip].compile(both(norm), x, parameter, parameter, x).as_text()


def measured(text: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """By kernel: units of x that it moves and MiB of VMEM; and units that the program moves."""
    unit = math.prod(shape) * DTYPES[dtype]
    program = read(text)
    attributes = {line.name: line.attributes for line in program.instructions()}
    found: dict[str, Any] = {"all": 0.0}
    for kernel in kernels(program):
        found["all"] += kernel.bytes / unit
        if 'custom_call_target="tpu_custom_call"' in attributes[kernel.name]:
            (memory,) = MEMORY.findall(attributes[kernel.name])
            name = re.sub(r"\.\d+$", "", kernel.name)
            found[name] = kernel.bytes / unit, int(memory) / 2**20
    return found


def cells() -> Iterator[tuple[Callable[..., Any], tuple[int, ...], str]]:
    """Layer norm of every shape and dtype, RMS norm of the first shape."""
    for shape in SHAPES:
        for dtype in DTYPES:
            yield layer, shape, dtype
    for dtype in DTYPES:
        yield rms, SHAPES[0], dtype


def table() -> str:
    """A line for each cell."""
    head = ("chip", "norm", "x", "dtype", "forward, units of x", "VMEM", "backward", "VMEM", "sum")
    rows = []
    for chip in CHIPS:
        for norm, shape, dtype in cells():
            found = measured(compiled(chip, norm, shape, dtype), shape, dtype)
            row = [chip, norm.__name__, " x ".join(map(str, shape)), dtype]
            for name in ("inox_normalize", "inox_normalize_cotangent"):
                units, memory = found.get(name, (math.nan, math.nan))
                row += [f"{units:.2f}", f"{memory:.1f} MiB"]
            rows.append([*row, f"{found['all']:.2f}"])
            print(*rows[-1], sep=", ", flush=True)
    return markdown_table(head, rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tpu_kernels", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--update", action="store_true", help="write the table into docs/tpu.md")
    update = parser.parse_args().update
    text = table()
    if update:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_part(page, "compiled", text), encoding="utf-8")


if __name__ == "__main__":
    main()
