"""Norms of arrays that several devices hold in parts, and what the compiled programs exchange."""

from collections.abc import Iterable
from typing import Any

from ..speed.cells import IMAGES, Cell
from . import contestants
from .collectives import counted
from .measuring import say
from .program import read
from .targets import TARGETS, Target

NAMES = ("ours", "flax")
PASSES = ("forward", "both")
# On the CPU without its kernels, which an environment for compilers hasn't.
CPU = Target("cpu", "8 devices of the CPU", "cpu", "", ())
SEVERAL = {"v5e": TARGETS["v5e"], "cpu": CPU}
TITLES = {"v5e": "4 TPU v5e", "cpu": CPU.title}
# The norm, and the axis of x that is split over the devices.
CASES = (
    (Cell("batch", IMAGES, "float32"), 0),
    (Cell("batch", IMAGES, "float32"), 3),
    (Cell("layer", (8192, 768), "float32"), 0),
    (Cell("layer", (8192, 768), "float32"), 1),
)


def _program(target: Target, name: str, cell: Cell, axis: int, which: str) -> Any:
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(target.devices), ("devices",))
    function, shapes = contestants.program(name, cell, which)
    axes: list[str | None] = [None] * len(cell.shape)
    axes[axis] = "devices"
    of_x, of_parameters = (NamedSharding(mesh, PartitionSpec(*a)) for a in (axes, axes[-1:]))
    given = (of_x, of_x, *[of_parameters] * (len(shapes) - 2))
    # Every result is held as its operand is; the gradients of parameters among them.
    y, gradients = of_x, (of_x, *given[2:])
    results = {"forward": y, "both": (y, gradients)}[which]
    return target.compile_sharded(function, *shapes, in_shardings=given, out_shardings=results)


def measured(targets: Iterable[str]) -> list[dict[str, Any]]:
    """A record for each case and pass."""
    records = []
    for target_name in targets:
        for cell, axis in CASES:
            for which in PASSES:
                found = {}
                for name in NAMES:
                    compiled = _program(SEVERAL[target_name], name, cell, axis, which)
                    found[name] = counted(read(compiled.as_text()))
                split = "channels" if axis == len(cell.shape) - 1 else "rows"
                record = {
                    "target": target_name,
                    "cell": cell.record(),
                    "split": split,
                    "pass": which,
                    "programs": found,
                }
                say(f"{TITLES[target_name]}, {cell.title}, {split} split, {which}: {found['ours']}")
                records.append(record)
    return records
