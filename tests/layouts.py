"""The layouts that the operations of `tests/registry.py` are tested in."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layout:
    """The shape of `x`, static arguments, and the shape of scale and bias (None: the channels)."""

    shape: tuple[int, ...]
    static: dict[str, Any] = field(default_factory=dict)
    parameter: tuple[int, ...] | None = None

    def __str__(self) -> str:
        static = ",".join(f"{name}={value}".replace(" ", "") for name, value in self.static.items())
        parameter = "" if self.parameter is None else f"parameter={self.parameter}".replace(" ", "")
        return "-".join(
            part for part in ("x".join(map(str, self.shape)), static, parameter) if part
        )


# Layouts. The first of each list is the one that the grids of transformations use.
ROWS = (
    Layout((4, 6)),
    Layout((2, 3, 4), {"axis": (0, 2)}),
    Layout((3, 2, 4), {"axis": (-1, 1)}, (2, 4)),
    Layout((5, 3), {"axis": 0}),
    Layout((2, 3, 2, 4), {"axis": (-3, -2)}),
    Layout((2, 3, 2, 4), {"axis": (3, -3)}, (2, 1, 1, 4)),
    Layout((2, 3, 4), {"axis": (2, 0, 1)}, ()),
    Layout((7,), {"axis": -1}),
    Layout((3, 300), {"axis": [-1]}),
    Layout((5, 1), {"axis": 1}),
    Layout((0, 5), {"axis": -1}),
)
GROUPS = (
    Layout((3, 2, 6), {"groups": 3}),
    Layout((2, 3, 2, 6), {"groups": 2, "axis": (-3, -2, -1)}),
    Layout((2, 3, 2, 6), {"groups": 3, "axis": (-1, 1)}, (2, 1, 1, 6)),
    Layout((4, 3, 6), {"groups": 2, "axis": (0, -1)}, (3, 1)),
    Layout((2, 3, 4), {"groups": 1, "axis": (1, 2)}),
    Layout((2, 5, 4), {"groups": 4, "axis": (-1, -2)}),
    Layout((2, 4), {"groups": 4}),
)
BATCHES = (
    Layout((6, 4)),
    Layout((3, 2, 2, 4)),
    Layout((3, 5, 4), parameter=(3, 1, 4)),
    Layout((1, 4)),
    Layout((0, 4)),
)
POOLED = (
    Layout((4, 6), {"axis": -1}),
    Layout((2, 3, 4), {"axis": (0, 2)}),
    Layout((2, 3, 4), {"axis": (-1, 0), "keepdims": True}),
    Layout((5, 3), {"axis": 0}),
    Layout((2, 3, 4), {"axis": (0, 1, 2)}),
    Layout((2, 0, 3), {"axis": 1}),
)

# Examples of a batch: what goes through a kernel of its own (short, odd, long), images among them
# that one thread takes alone, and images that are divided over threads.
VECTORS = (
    Layout((36,)),
    Layout((4,)),
    Layout((7,)),
    Layout((100,)),
    Layout((768,)),
    Layout((5, 24)),
    Layout((6, 7, 12), {"axis": (-3, -2)}),
    Layout((90, 50, 16), {"axis": (-3, -2)}),
    Layout((5, 6, 3), {"axis": (-2, -1)}),
)
GROUPED = (
    Layout((5, 144), {"groups": 4}),
    Layout((48,), {"groups": 6}),
    Layout((12,), {"groups": 3}),
    Layout((6, 7, 24), {"groups": 4, "axis": (-3, -2, -1)}),
    Layout((90, 50, 16), {"groups": 2, "axis": (-3, -2, -1)}),
)
CHANNELS = (Layout((12,)), Layout((6, 5, 20)))
