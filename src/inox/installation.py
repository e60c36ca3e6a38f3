"""What is installed and in use: versions, and which kernels run and how."""

import os
import platform
from importlib.metadata import version

import jax

from . import __version__
from .kernels.backends import BACKENDS
from .kernels.cpu.library import library


def threads() -> int:
    """How many threads XLA's pool on this CPU has: one for each processor the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installation() -> dict[str, str]:
    """What a bug report should say, by title."""
    found = library()
    missing = BACKENDS["tpu"].missing()
    state = f"in use, {found.instruction_set}" if found.available else f"not used: {found.reason}"
    return {
        "inox": __version__,
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "kernels": state,
        "threads": str(threads()),
        "tpu": f"not used: {missing}" if missing else "kernels where a program is lowered for it",
    }
