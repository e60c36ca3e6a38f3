"""Which platform has a backend: another one is a folder and a line here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .cpu.backend import BACKEND as CPU
from .gpu.backend import BACKEND as GPU
from .kernel import Backend
from .tpu.backend import BACKEND as TPU

# By JAX's name of the platform that a computation is lowered for.
BACKENDS: Mapping[str, Backend] = {
    "cpu": CPU,
    "cuda": GPU,
    "rocm": GPU,
    "tpu": TPU,
}


def check_name(implementation: Any) -> None:
    """Raises where `implementation` is not known."""
    known = ("xla", *dict.fromkeys(b.name for b in BACKENDS.values() if b.name is not None))
    if implementation is not None and implementation not in known:
        raise ValueError(
            f"implementation must be None or one of {', '.join(map(repr, known))}; found "
            f"{implementation!r}. None picks the best one for the platform."
        )


def check_implementation(
    implementation: str | None, where: Any = None, axes: Sequence[int] | None = None
) -> None:
    """Raises where `implementation` is not known, not part of this build, or takes no such mask.

    Args:
        implementation: What the caller asks for.
        where: The mask, as the caller gave it.
        axes: The axes of a slice, counted from the end, where masks of whole slices may have a
            kernel; None where no mask has.
    """
    if implementation is None or implementation == "xla":
        return
    check_name(implementation)
    backend = next(one for one in BACKENDS.values() if one.name == implementation)
    if reason := backend.missing():
        raise ValueError(
            f"implementation={implementation!r} asks for kernels that are not in use: {reason}. "
            "Use implementation=None (the best there is) or 'xla'."
        )
    if where is None or (backend.masks and axes is not None and _of_whole_slices(where, axes)):
        return
    which = "a mask" if axes is None else "a mask that varies within a slice"
    raise ValueError(
        f"implementation={implementation!r} has no kernel for {which}; found one in where. Use "
        "implementation=None: it picks the kernels where there are any and XLA elsewhere."
    )


def _of_whole_slices(where: Any, axes: Sequence[int]) -> bool:
    """Whether a mask says the same of all elements of a slice: padded tokens, say, (N, L, 1)."""
    shape = np.shape(where)
    return all(len(shape) < -axis or shape[axis] == 1 for axis in axes)
