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
SHAPES = ((90112, 768), (16384, 4096), (65536, 1000), (4096, 16384))
DTYPES = ("float32", "bfloat16")
SIZES = {"f32": 4, "bf16": 2}
# An array in HBM, as the program writes its type; S(1) would be VMEM.
ARRAY = re.compile(r"\b(f32|bf16)\[([0-9,]+)\](?:\{[^{}]*\})?")
CALL = re.compile(r"^ +(?:ROOT )?%?([\w.-]+) = (.*?) custom-call\((.*?)\), custom_call_target=\"tpu_")


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


def compiled(chip: str, norm: Callable[..., Any], shape: tuple[int, int], dtype: str) -> str:
    """The text of the program of forward and backward."""
    topology = topologies.get_topology_desc(platform="tpu", topology_name=CHIPS[chip])
    where = SingleDeviceSharding(topology.devices[0])
    x = jax.ShapeDtypeStruct(shape, dtype)
    parameter = jax.ShapeDtypeStruct(shape[-1:], "float32")
    program = jax.jit(both(norm), in_shardings=where, out_shardings=where)
    traced = program.trace(x, parameter, parameter, x)
    return traced.lower(lowering_platforms=("tpu",)).compile().as_text()


def sizes(text: str, least: int) -> Iterator[tuple[int, int]]:
    """The number of elements and the bytes of the arrays in a text that are not small."""
    for dtype, shape in ARRAY.findall(text):
        elements = math.prod(map(int, shape.split(",")))
        if elements >= least:
            yield elements, elements * SIZES[dtype]


def measured(text: str, shape: tuple[int, int], dtype: str) -> dict[str, tuple[float, float]]:
    """By kernel: units of x that it moves, and MiB of VMEM; all else that moves an array of x."""
    unit = math.prod(shape) * SIZES["f32" if dtype == "float32" else "bf16"]
    types = dict(re.findall(r"^ +(?:ROOT )?%?([\w.-]+) = (.*?) [\w-]+\(", text, flags=re.MULTILINE))
    found = {}
    for line in text.splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        name, results, operands = call.groups()
        given = [types[one] for one in re.findall(r"%([\w.-]+)", operands)]
        moved = sum(bytes for _, bytes in sizes(" ".join([results, *given]), shape[-1] * 2))
        (memory,) = re.findall(r'used_scoped_memory_configs":\[\{[^}]*"size":"(\d+)"', line)
        found[re.sub(r"\.\d+$", "", name)] = moved / unit, int(memory) / 2**20
    return found


def table() -> str:
    """A line for each cell."""
    lines = [
        "| chip | norm | rows × channels | dtype | forward, units of x | VMEM | backward | VMEM |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for chip in CHIPS:
        for norm in (layer, rms):
            for shape in SHAPES:
                for dtype in DTYPES:
                    found = measured(compiled(chip, norm, shape, dtype), shape, dtype)
                    cells = [f"{a:.2f} | {b:.1f} MiB" for a, b in found.values()]
                    if len(cells) != 2:
                        cells = ["formulas | – "] * 2
                    name = f"{shape[0]} × {shape[1]}"
                    lines.append(f"| {chip} | {norm.__name__} | {name} | {dtype} | {' | '.join(cells)} |")
                    print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    text = table()
    if "--update" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_part(page, "compiled", text), encoding="utf-8")
