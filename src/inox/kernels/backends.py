"""Which platform has a backend: another one is a folder and a line here."""

from collections.abc import Mapping
from typing import Any

from .cpu.backend import BACKEND as CPU
from .kernel import Backend

# By JAX's name of the platform that a computation is lowered for.
BACKENDS: Mapping[str, Backend] = {"cpu": CPU}


def check_implementation(implementation: str | None, where: Any = None) -> None:
    """Raises where `implementation` is not known, not part of this build, or takes no mask."""
    if implementation is None or implementation == "xla":
        return
    found = [backend for backend in BACKENDS.values() if backend.name == implementation]
    if not found:
        known = ", ".join(repr(name) for name in ("xla", *(b.name for b in BACKENDS.values())))
        raise ValueError(
            f"implementation must be None or one of {known}; found {implementation!r}. "
            "None picks the best one for the platform."
        )
    if reason := found[0].missing():
        raise ValueError(
            f"implementation={implementation!r} asks for kernels that are not in use: {reason}. "
            "Use implementation=None (the best there is) or 'xla'."
        )
    if where is not None and not found[0].masks:
        raise ValueError(
            f"implementation={implementation!r} has no kernel for a mask; found one in where. Use "
            "implementation=None: it picks the kernels where there are any and XLA elsewhere."
        )
