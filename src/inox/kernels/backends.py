"""Which platform has a backend: another one is a folder and a line here."""

from collections.abc import Mapping
from typing import Any

from .accelerators.backend import BACKEND as ACCELERATOR
from .cpu.backend import BACKEND as CPU
from .kernel import Backend

# By JAX's name of the platform that a computation is lowered for.
BACKENDS: Mapping[str, Backend] = {
    "cpu": CPU,
    "cuda": ACCELERATOR,
    "rocm": ACCELERATOR,
    "tpu": ACCELERATOR,
}
# Where XLA asks how an operation that it does not know may be split. The compiler of TPUs does
# not, at least not ahead of time (libtpu 0.0.42).
PARTITIONERS = ("cpu", "cuda", "rocm")


def check_name(implementation: Any) -> None:
    """Raises where `implementation` is not known."""
    known = ("xla", *dict.fromkeys(b.name for b in BACKENDS.values() if b.name is not None))
    if implementation is not None and implementation not in known:
        raise ValueError(
            f"implementation must be None or one of {', '.join(map(repr, known))}; found "
            f"{implementation!r}. None picks the best one for the platform."
        )


def check_implementation(implementation: str | None, where: Any = None) -> None:
    """Raises where `implementation` is not known, not part of this build, or takes no mask."""
    if implementation is None or implementation == "xla":
        return
    check_name(implementation)
    backend = next(one for one in BACKENDS.values() if one.name == implementation)
    if reason := backend.missing():
        raise ValueError(
            f"implementation={implementation!r} asks for kernels that are not in use: {reason}. "
            "Use implementation=None (the best there is) or 'xla'."
        )
    if where is not None and not backend.masks:
        raise ValueError(
            f"implementation={implementation!r} has no kernel for a mask; found one in where. Use "
            "implementation=None: it picks the kernels where there are any and XLA elsewhere."
        )
