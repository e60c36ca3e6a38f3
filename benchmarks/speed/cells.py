"""What is measured: norms with a shape and a dtype, and their input."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

EPSILON = 1e-5
# By name: in a font they are hard to tell from the letter x and from a hyphen.
TIMES, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
DTYPES = ("float32", "bfloat16")
PASSES = ("forward", "both")
PASS_NAMES = {"forward": "forward", "both": "forward + backward"}

KINDS = {
    "layer": "layer norm",
    "rms": "RMS norm",
    "heads": "RMS norm of heads",
    "batch": "batch norm",
    "group": "group norm",
    "position": "group norm per position",
}
# Those that subtract no mean, and add no bias.
UNCENTRED = ("rms", "heads")


@dataclass(frozen=True)
class Cell:
    """A norm of `shape`, channels last, with or without scale and bias."""

    kind: str
    shape: tuple[int, ...]
    dtype: str
    affine: bool = True
    groups: int = 32

    @property
    def channels(self) -> int:
        """The length of the last axis."""
        return self.shape[-1]

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of scale and bias: one for each channel, of each head of queries or keys."""
        return self.shape[-2:] if self.kind == "heads" else self.shape[-1:]

    @property
    def array_bytes(self) -> int:
        """The size of x."""
        return int(np.prod(self.shape)) * np_dtype(self.dtype).itemsize

    @property
    def title(self) -> str:
        """Norm and shape, for people."""
        return f"{KINDS[self.kind]} {TIMES.join(map(str, self.shape))}"

    def larger(self, factor: int) -> "Cell":
        """With as many times more rows, images or samples."""
        return replace(self, shape=(factor * self.shape[0], *self.shape[1:]))

    def record(self) -> dict[str, Any]:
        """The cell as a JSON object."""
        return asdict(self)


def from_record(record: dict[str, Any]) -> Cell:
    """The cell of a JSON object."""
    return Cell(**{**record, "shape": tuple(record["shape"])})


def np_dtype(name: str) -> np.dtype:
    """NumPy's dtype of that name, bfloat16 among them."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


IMAGES, GROUPED = (32, 56, 56, 64), (16, 32, 32, 256)
SHAPES = (
    ("layer", (8192, 768)),
    ("layer", (2048, 4096)),
    ("layer", IMAGES),
    ("rms", (8192, 768)),
    ("heads", (4, 2048, 12, 64)),
    ("batch", IMAGES),
    ("group", GROUPED),
    ("position", GROUPED),
)
GRID = tuple(Cell(kind, shape, dtype) for kind, shape in SHAPES for dtype in DTYPES)
# What the distribution called inox offers: no RMS norm, group norm per position alone.
PLAIN = tuple(
    Cell(cell.kind, cell.shape, cell.dtype, affine=False)
    for cell in GRID
    if cell.kind in ("layer", "batch", "position")
)
QUICK_SHAPES = (("layer", (8192, 768)), ("batch", IMAGES), ("group", GROUPED))
SMALL = Cell("layer", (8, 64), "float32")
GROWTH = {
    "rows": tuple(Cell("layer", (4**n, 768), "float32") for n in range(2, 8)),
    "columns": tuple(Cell("layer", (512, 4**n), "float32") for n in range(2, 8)),
}
# 2 MiB in bfloat16.
SAVED_SHAPES = {
    "layer": (1024, 1024),
    "rms": (1024, 1024),
    "batch": (16, 32, 32, 64),
    "group": (16, 32, 32, 64),
    "position": (16, 32, 32, 64),
}
SAVED = tuple(Cell(kind, shape, dtype) for kind, shape in SAVED_SHAPES.items() for dtype in DTYPES)


def is_quick(cell: Cell) -> bool:
    """Whether a cell belongs to the short run."""
    return (cell.kind, cell.shape) in QUICK_SHAPES and cell.dtype == "float32"


@dataclass(frozen=True)
class Data:
    """The input of a cell: parameters are float32 whatever the dtype of x."""

    x: np.ndarray
    g: np.ndarray
    parameters: tuple[np.ndarray, ...]

    def repeated(self, factor: int) -> "Data":
        """The same samples several times, for `Cell.larger`."""
        x, g = (np.concatenate([array] * factor) for array in (self.x, self.g))
        return replace(self, x=x, g=g)


def data(cell: Cell) -> Data:
    """Seeded, so that every process draws the same numbers."""
    rng = np.random.default_rng(0)
    dtype = np_dtype(cell.dtype)
    x = (0.5 + 2 * rng.standard_normal(cell.shape, np.float32)).astype(dtype)
    g = rng.standard_normal(cell.shape, np.float32).astype(dtype)
    scale = rng.uniform(0.5, 1.5, cell.parameter_shape).astype(np.float32)
    bias = rng.standard_normal(cell.parameter_shape, np.float32)
    if not cell.affine:
        return Data(x, g, ())
    return Data(x, g, (scale,) if cell.kind in UNCENTRED else (scale, bias))
