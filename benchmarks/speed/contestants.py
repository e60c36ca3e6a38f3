"""Who is measured. A library more is a function in a file `libraries_*.py` and a line here."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import instruction_sets, libraries_jax, libraries_ours, libraries_torch
from .cells import Cell
from .environment import REFERENCE_VARIABLE


@dataclass(frozen=True)
class Contestant:
    """A library that normalizes.

    `norm` gives the function (x, *parameters) -> y of a cell, or None. `image_layout` is the order
    of memory in which batch and group norm get their images: "last" or "first" for the channels.
    Kernels of another instruction set than the best are chosen when a process starts, so those of
    `instruction_set` have one of their own.
    """

    label: str
    norm: Callable[[Cell], Callable[..., Any] | None]
    requires: str
    backend: str = "jax"
    image_layout: str = "last"
    own_process: bool = False
    instruction_set: str | None = None

    def channels_first(self, cell: Cell) -> bool:
        """Whether the memory of this cell's arrays has the channels second."""
        return self.image_layout == "first" and cell.kind in ("batch", "group")


CONTESTANTS = {
    "ours": Contestant("ours", libraries_ours.best, "inox"),
    "ours_xla": Contestant("ours (XLA)", libraries_ours.xla, "inox"),
    **{
        f"ours_{name}": Contestant(
            f"ours ({name})", libraries_ours.best, "inox", own_process=True, instruction_set=name
        )
        for name in ("avx2", "baseline")
    },
    "flax": Contestant("flax", libraries_jax.flax, "flax"),
    "equinox": Contestant("equinox", libraries_jax.equinox, "equinox", image_layout="first"),
    "haiku": Contestant("haiku", libraries_jax.haiku, "haiku"),
    "torch": Contestant("torch", libraries_torch.eager, "torch", backend="torch"),
    "torch_first": Contestant(
        "torch, channels first", libraries_torch.eager_channels_first, "torch", "torch", "first"
    ),
    "reference": Contestant("inox 0.8", libraries_jax.reference, "inox", own_process=True),
}
# Those that the bars speak of as the JAX peers.
JAX_PEERS = ("flax", "equinox", "haiku")
LABELS = {
    "floor": "floor",
    "none": "no norm",
    "textbook": "textbook formula",
    "one_pass": "ours, one pass",
    "one_pass_of_rounded": "ours, of the rounded sum",
    "theirs": "the framework's",
    **{name: contestant.label for name, contestant in CONTESTANTS.items()},
}


def available(platform: str) -> tuple[dict[str, Contestant], list[str]]:
    """The contestants that can run here, and a line for each one that can't."""
    found, missing = {}, []
    for name, contestant in CONTESTANTS.items():
        reason = None
        folder = os.environ.get(REFERENCE_VARIABLE, "")
        if contestant.own_process and platform == "gpu":
            reason = "is measured on the CPU alone"
        elif lower := contestant.instruction_set:
            if lower not in instruction_sets.available():
                reason = f"is left out: no kernels of {lower} for this processor"
            elif lower == instruction_sets.in_use():
                continue  # that is "ours"
        elif contestant.own_process and not (folder and Path(folder, contestant.requires).is_dir()):
            reason = f"needs {REFERENCE_VARIABLE}, the folder it is installed in (docs/speed.md)"
        elif importlib.util.find_spec(contestant.requires) is None:
            reason = f"is left out: {contestant.requires} is not installed"
        elif contestant.backend == "torch" and platform == "gpu" and not _torch_has_cuda():
            reason = "is left out: this build of torch finds no GPU"
        if reason is None:
            found[name] = contestant
        else:
            missing.append(f"{contestant.label} {reason}")
    return found, missing


def _torch_has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
