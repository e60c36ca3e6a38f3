"""What libtpu makes of the kernels for TPU, on a machine that has none: bytes and memory.

    python -m benchmarks.tpu_kernels [--update]

It needs libtpu beside jax (`pip install libtpu`), which compiles for chips that aren't there. For
each cell the compiled program is read: how many kernels stand in it, how many bytes its operations
move to and from HBM, in units of x, and how much VMEM the kernels take. None of this is a time.
`--update` writes the table into `docs/tpu.md`.
"""

import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
os.environ |= {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_ACCELERATOR_TYPE": "v5litepod-4"}

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks.marked_part import with_part
from inox import functional

PAGE = Path(__file__).parents[1] / "docs" / "tpu.md"
CHIPS = {"v5e": "v5e:2x2", "v6e": "v6e:2x2"}
SHAPES = ((90112, 768), (16384, 4096), (4096, 16384), (512, 197, 768))
DTYPES = ("float32", "bfloat16")
SIZES = {"f32": 4, "bf16": 2}
# An array as a program writes its type; S(1) in the layout is VMEM.
ARRAY = re.compile(r"\b(f32|bf16)\[([0-9,]+)\](\{[^{}]*\})?")
# name, type, operation, and what follows
OPERATION = re.compile(
    r"^ +(?:ROOT )?%?([\w.-]+) = (\([^=]*?\)|\S+) ([\w-]+)\((.*)$", flags=re.MULTILINE
)


def layer(x: Any, scale: Any, bias: Any) -> Any:
    """Layer norm."""
    return functional.layer_norm(x, scale, bias)


def rms(x: Any, scale: Any, bias: Any) -> Any:
    """RMS norm."""
    return functional.rms_norm(x, scale)


def both(norm: Callable[..., Any]) -> Callable[..., Any]:
    """Forward and backward."""

    def run(x: Any, scale: Any, bias: Any, dy: Any) -> Any:
        y, pull = jax.vjp(norm, x, scale, bias)
        return y, pull(dy)

    return run


def compiled(chip: str, norm: Callable[..., Any], shape: tuple[int, ...], dtype: str) -> str:
    """The text of the program of forward and backward."""
    topology = topologies.get_topology_desc(platform="tpu", topology_name=CHIPS[chip])
    where = SingleDeviceSharding(topology.devices[0])
    x = jax.ShapeDtypeStruct(shape, dtype)
    parameter = jax.ShapeDtypeStruct(shape[-1:], "float32")
    program = jax.jit(both(norm), in_shardings=where, out_shardings=where)
    traced = program.trace(x, parameter, parameter, x)
    return traced.lower(lowering_platforms=("tpu",)).compile().as_text()


def moved_bytes(types: str, least: int) -> int:
    """The bytes of the arrays in the text of some types that are in HBM and not small."""
    found = 0
    for dtype, shape, layout in ARRAY.findall(types):
        elements = math.prod(map(int, shape.split(",")))
        if elements >= least and "S(" not in layout:
            found += elements * SIZES[dtype]
    return found


def measured(text: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """By kernel: units of x that it moves and MiB of VMEM; and units that the program moves."""
    elements = math.prod(shape)
    unit = elements * SIZES["f32" if dtype == "float32" else "bf16"]
    entry = text[text.index("ENTRY ") :]
    operations = OPERATION.findall(entry)
    types = {name: kind for name, kind, *_ in operations}
    found: dict[str, Any] = {"all": 0.0}
    for name, kind, operation, rest in operations:
        if operation in ("parameter", "tuple", "get-tuple-element", "bitcast", "constant"):
            continue
        given = [types[one] for one in re.findall(r"%([\w.-]+)", rest) if one in types]
        moved = moved_bytes(" ".join([kind, *given]), elements // 8) / unit
        found["all"] += moved
        if 'custom_call_target="tpu_custom_call"' in rest:
            (memory,) = re.findall(r'used_scoped_memory_configs":\[\{[^}]*"size":"(\d+)"', rest)
            found[re.sub(r"\.\d+$", "", name)] = moved, int(memory) / 2**20
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
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for chip in CHIPS:
        for norm, shape, dtype in cells():
            found = measured(compiled(chip, norm, shape, dtype), shape, dtype)
            line = [chip, norm.__name__, " x ".join(map(str, shape)), dtype]
            for name in ("inox_normalize", "inox_normalize_cotangent"):
                units, memory = found.get(name, (math.nan, math.nan))
                line += [f"{units:.2f}", f"{memory:.1f} MiB"]
            lines.append(f"| {' | '.join([*line, format(found['all'], '.2f')])} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    text = table()
    if "--update" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_part(page, "compiled", text), encoding="utf-8")
