"""The shared library of CPU kernels: found in the folder beside, checked, and registered with XLA.

It knows nothing of Python: XLA calls its four handlers with the buffers of a program, on XLA's own
threads. Where it is missing (an installation without a compiler), older than it should be, or
switched off by `INOX_KERNELS=off`, every operation is what XLA makes of its formula.
"""

import ctypes
import functools
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax

# Targets by the symbol of their handler. The number changes when the meaning of a call does, so
# that a program exported with one version never runs another.
TARGETS: Mapping[str, str] = {
    symbol: f"{symbol}.v2"
    for symbol in (
        "inox_normalize",
        "inox_normalize_cotangent",
        "inox_moments",
        "inox_centred_sums",
    )
}
SWITCH = "INOX_KERNELS"


class Library(NamedTuple):
    """What came of loading the library.

    Args:
        instruction_set: The one in use, or None where the library isn't.
        reason: Why it is not in use; empty where it is.
        path: The file, where there is one.
    """

    instruction_set: str | None
    reason: str
    path: Path | None = None

    @property
    def available(self) -> bool:
        """Whether the kernels are in use."""
        return self.instruction_set is not None


def _file() -> Path | None:
    """The shared library of this package, and of no other place."""
    from . import __path__ as folders  # an editable installation has two: sources and build

    for folder in folders:
        for name in ("libinox_kernels.so", "libinox_kernels.dylib", "inox_kernels.dll"):
            if (path := Path(folder) / "lib" / name).is_file():
                return path
    return None


def runtime_interface() -> tuple[int, int] | None:
    """Major and minor version of XLA's interface for kernels in the jaxlib that runs.

    None where it does not tell: its headers, which say it, may be left out.
    """
    header = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    try:
        text = header.read_text(encoding="utf-8")
    except OSError:
        return None
    found = [
        re.search(rf"#define\s+XLA_FFI_API_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR")
    ]
    if None in found:
        return None
    major, minor = (int(match.group(1)) for match in found if match)
    return major, minor


def declined(built: tuple[int, int], runtime: tuple[int, int] | None) -> str:
    """Why a library with the interface `built` can't run in `runtime`; empty if it can.

    A runtime takes what was built for an older minor version, never for a newer one.
    """
    if runtime is None or (built[0] == runtime[0] and built[1] <= runtime[1]):
        return ""
    return (
        f"they were built for version {built[0]}.{built[1]} of XLA's interface, and this jaxlib "
        f"has {runtime[0]}.{runtime[1]}; install a newer jaxlib, or build Inox from source with it"
    )


@functools.cache
def library() -> Library:
    """Loads and registers the kernels, once a process."""
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "false", "no"):
        return Library(None, f"switched off by {SWITCH}={os.environ[SWITCH]}")
    path = _file()
    if path is None:
        return Library(None, "not part of this installation (it was built without a compiler)")
    try:
        handle = ctypes.CDLL(str(path))
        handlers = {target: getattr(handle, symbol) for symbol, target in TARGETS.items()}
        built = handle.inox_abi_major(), handle.inox_abi_minor()
        handle.inox_instruction_set.restype = ctypes.c_char_p
        instruction_set = handle.inox_instruction_set().decode()
    except (OSError, AttributeError) as error:  # no library, or that of another version
        return _refused(f"the shared library does not load: {error}; install Inox again", path)
    if reason := declined(built, runtime_interface()):
        return _refused(reason, path)
    for target, handler in handlers.items():
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(handler), platform="cpu")
    return Library(instruction_set, "", path)


def _refused(reason: str, path: Path) -> Library:
    warnings.warn(
        f"The CPU kernels of Inox are not used: {reason}. Results are the same within their "
        f"bounds, but slower. {SWITCH}=off in the environment silences this.",
        RuntimeWarning,
        stacklevel=2,
    )
    return Library(None, reason, path)
