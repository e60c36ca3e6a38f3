"""Every layer of Flax with arguments that matter, and what it computes: one line a case.

A case is built in either module system, from Flax' own classes or from ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .formula import grouped, normalized

RANDOM = np.random.default_rng(0)
SHAPE = (4, 3, 5, 6)
X = (2 + 3 * RANDOM.standard_normal(SHAPE)).astype(np.float32)
MASK = RANDOM.random((4, 3, 5, 1)) > 0.4
MASK[0, 0] = True  # each slice that is reduced over has some
MASK[..., :2, :] = True


@dataclass(frozen=True)
class Case:
    """A layer's name, its arguments and the formula of (x, scale, bias, mask).

    `features` are the axes along which the parameters lie.
    """

    name: str
    arguments: dict[str, Any]
    formula: Callable[..., Any]
    features: tuple[int, ...] = (3,)
    label: str = ""
    nnx: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} {self.label}".strip()

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the parameters."""
        return tuple(SHAPE[axis] for axis in self.features)

    @property
    def number(self) -> int:
        return int(np.prod(self.shape))

    @property
    def parameters(self) -> tuple[str, ...]:
        used = {
            "scale": self.arguments.get("use_scale", True),
            "bias": self.arguments.get("use_bias", self.name != "RMSNorm"),
        }
        return tuple(name for name, use in used.items() if use)

    def values(self) -> dict[str, np.ndarray]:
        """Seeded parameters."""
        random = np.random.default_rng(1)
        return {
            name: random.normal(1, 0.5, self.shape).astype(np.float32) for name in self.parameters
        }

    def expected(self, x, mask=None) -> np.ndarray:
        """What the layer makes of x, in float64."""
        spread = [SHAPE[axis] if axis in self.features else 1 for axis in range(len(SHAPE))]
        values = {k: np.asarray(v, np.float64).reshape(spread) for k, v in self.values().items()}
        return self.formula(x, mask=mask, **values)


def rows(axes, epsilon=1e-6, **settings):
    return lambda x, **operands: normalized(x, axes, epsilon, **operands, **settings)


def groups(number, axes, epsilon=1e-6):
    return lambda x, **operands: grouped(x, number, axes, epsilon, **operands)


CASES = [
    Case("BatchNorm", {}, rows((0, 1, 2), 1e-5)),
    Case("BatchNorm", {"axis": 1}, rows((0, 2, 3), 1e-5), (1,), "channels first"),
    Case("BatchNorm", {"use_bias": False, "epsilon": 0.5}, rows((0, 1, 2), 0.5), label="no bias"),
    Case("BatchNorm", {"use_scale": False}, rows((0, 1, 2), 1e-5), label="no scale"),
    Case("LayerNorm", {}, rows((3,))),
    Case("LayerNorm", {"use_scale": False, "use_bias": False}, rows((3,)), label="alone"),
    Case("LayerNorm", {"reduction_axes": (1, 2, 3)}, rows((1, 2, 3)), label="image"),
    Case(
        "LayerNorm",
        {"reduction_axes": -2, "feature_axes": (1, 3)},
        rows((2,)),
        (1, 3),
        "two feature axes",
    ),
    Case("LayerNorm", {"reduction_axes": 1, "feature_axes": 1}, rows((1,)), (1,), "axis 1"),
    Case("RMSNorm", {}, rows((3,), centred=False)),
    Case(
        "RMSNorm",
        {"reduction_axes": (0, 2), "feature_axes": (0, 2)},
        rows((0, 2), centred=False),
        (0, 2),
        "two axes",
    ),
    Case("GroupNorm", {"num_groups": 3}, groups(3, (1, 2, 3))),
    Case(
        "GroupNorm",
        {"num_groups": None, "group_size": 3},
        groups(2, (1, 2, 3)),
        label="by size",
    ),
    Case(
        "GroupNorm",
        {"num_groups": 2, "reduction_axes": (-1,)},
        groups(2, (3,)),
        label="per position",
    ),
    Case(
        "GroupNorm",
        {"num_groups": 2, "reduction_axes": (0, 2, 3)},
        groups(2, (0, 2, 3)),
        label="some axes",
    ),
    Case("InstanceNorm", {}, rows((1, 2))),
    Case("InstanceNorm", {"feature_axes": (1, 3)}, rows((2,)), (1, 3), "two feature axes"),
]
