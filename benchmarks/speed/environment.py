"""The process that measures: its memory, and a description of the machine and of versions."""

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# The folder that holds the distribution called inox, which has our import name: it runs in a
# process of its own.
REFERENCE_VARIABLE = "INOX_REFERENCE"

# A fresh output buffer is a page fault for every 4 KiB, which takes longer than many a kernel.
# With these, freed memory stays in the process and the next buffer is one that was used before.
SETTINGS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_ARENA_MAX": "1",
    # PyTorch's threads then sleep when they have no work. By default they wait in a loop, which
    # takes a core from whoever comes next, and from themselves where a core is busy otherwise.
    "OMP_WAIT_POLICY": "passive",
}
DISTRIBUTIONS = ("jax", "jaxlib", "flax", "equinox", "dm-haiku", "torch", "numpy")


def restart_with_settings() -> None:
    """Starts this program again with settings that are read when a process starts."""
    if all(os.environ.get(name) == value for name, value in SETTINGS.items()):
        return
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, {**os.environ, **SETTINGS})


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> dict[str, Any]:
    """Name, family, model and the widest instruction sets; it takes a second."""
    from cpuinfo import get_cpu_info

    told = get_cpu_info()
    sets = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "name": told.get("brand_raw", platform.machine()),
        # As text, as older files have them: who has no such number has None.
        **{name: str(told[name]) if name in told else None for name in ("family", "model")},
        "instructions": [name for name in sets if name in told.get("flags", ())],
    }


def has_gpu() -> bool:
    """Whether JAX has a GPU to compute on."""
    import jax

    try:
        return jax.default_backend() == "gpu"
    except (RuntimeError, AssertionError):  # how it fails depends on what is missing
        return False


def machine(platform_name: str) -> dict[str, Any]:
    """What the figures depend on; nothing that names the computer."""
    found: dict[str, Any] = {"platform": platform_name, "cores": cores(), "processor": processor()}
    if platform_name == "gpu":
        import jax

        found["device"] = jax.devices()[0].device_kind
    return found


def place(description: dict[str, Any]) -> str:
    """The kind of machine that has a part of the page to itself: `cpu`, `cpu avx2` or `gpu`.

    Where the best kernels are those of AVX2, they do more work for each number than where there is
    AVX-512 (`cpu`, as older files have it that don't tell), and the other libraries' compilers meet
    another processor. `cpu baseline` and `cpu None`, without kernels, are kinds, too.
    """
    kernels = description.get("instruction_set", "avx512")
    narrow = description["platform"] == "cpu" and kernels != "avx512"
    return description["platform"] + (f" {kernels}" if narrow else "")


def slug(description: dict[str, Any]) -> str:
    """The machine as part of a file's name, such as `amd-epyc-2-cores`."""
    name = description.get("device") or f"{description['processor']['name']} {description['cores']}"
    if "device" not in description:
        name += " cores"
    if " " in place(description):
        name += f" {description['instruction_set']}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def versions(distributions: Iterable[str] = DISTRIBUTIONS) -> dict[str, str]:
    """The versions of what is compared, and of Python."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
