"""Print the versions, and which kernels run and how: `python -m inox`."""

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


def report() -> str:
    """What a bug report should say."""
    found = library()
    state = f"in use, {found.instruction_set}" if found.available else f"not used: {found.reason}"
    missing = BACKENDS["tpu"].missing()
    lines = {
        "inox": __version__,
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "kernels": state,
        "threads": str(threads()),
        "tpu": f"not used: {missing}" if missing else "kernels where a program is lowered for it",
    }
    return "\n".join(f"{name + ':':<9}{value}" for name, value in lines.items())


if __name__ == "__main__":
    print(report())
