"""The shared library of CPU kernels: found in the folder beside, checked, and registered with XLA.

It knows nothing of Python: XLA calls its handlers with the buffers of a program, on XLA's own
threads. Where it is missing (an installation without a compiler), older than it should be, or
switched off by `INOX_KERNELS=off`, every operation is what XLA makes of its formula.
"""

import contextlib
import ctypes
import functools
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from ..switch import OFF, ON, SWITCH
from .library_file import cut_off, library_file, why_not_built
from .refusals import register_refusals

# Targets by the symbol of their handler. The number changes when the meaning of a call does, so
# that a program exported with one version never runs another.
TARGETS: Mapping[str, str] = {
    symbol: f"{symbol}.v{number}"
    for symbol, number in {
        "inox_normalize": 2,
        "inox_normalize_cotangent": 2,
        "inox_normalize_where": 2,
        "inox_cotangent_where": 2,
        "inox_add_normalize": 2,
        "inox_add_cotangent": 3,
        "inox_moments": 2,
        "inox_centred_sums": 2,
    }.items()
}
INSTRUCTION_SET = "INOX_INSTRUCTION_SET"


# The targets that have a handler: XLA takes one for each, also where tests load a library again.
_with_handlers: set[str] = set()


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
    """Loads and registers the kernels, once a process.

    Also where they are switched off: nothing new is lowered to them then, but a program that was
    stored with them runs. Where there are none, such a program is told why.
    """
    switch = os.environ.get(SWITCH, "")
    off = switch.lower() in OFF
    with contextlib.ExitStack() as silence:
        if off:
            silence.enter_context(warnings.catch_warnings(action="ignore", category=RuntimeWarning))
        found = _registered(switch)
    if not found.available:
        register_refusals(set(TARGETS.values()) - _with_handlers, found.reason)
        _with_handlers.update(TARGETS.values())
    return Library(None, f"switched off by {SWITCH}={switch}", found.path) if off else found


def _registered(switch: str) -> Library:
    if switch and switch.lower() not in (*ON, *OFF):
        _warn(
            f"{SWITCH}={switch} means nothing, and the kernels stay as they are: {', '.join(OFF)} "
            f"switch them off; {', '.join(ON)}, or no value, leave them on."
        )
    path = library_file()
    if path is None:
        reason = why_not_built()
        if switch.lower() in ON:
            _warn(f"{SWITCH}={switch} asks for the CPU kernels of Inox, which are {reason}")
        return Library(None, reason)
    try:
        if missing := cut_off(path):
            return _refused(f"the shared library is cut off: {missing}; install Inox again", path)
        handle = ctypes.CDLL(str(path))
        handlers = {target: getattr(handle, symbol) for symbol, target in TARGETS.items()}
        built = handle.inox_abi_major(), handle.inox_abi_minor()
        instruction_set = _text(handle.inox_instruction_set)
        instruction_sets = _text(handle.inox_instruction_sets).split()
    except (OSError, AttributeError) as error:  # no library, or that of another version
        return _refused(f"the shared library does not load: {error}; install Inox again", path)
    if reason := declined(built, runtime_interface()):
        return _refused(reason, path)
    wanted = os.environ.get(INSTRUCTION_SET, "")
    if wanted and wanted not in instruction_sets:
        _warn(
            f"{INSTRUCTION_SET}={wanted} is none that the kernels have and this processor runs "
            f"({', '.join(instruction_sets)}): they use {instruction_set}."
        )
    for target, handler in handlers.items():
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(handler), platform="cpu")
    _with_handlers.update(handlers)
    return Library(instruction_set, "", path)


def _text(question: Any) -> str:
    """What a function of the library answers."""
    question.restype = ctypes.c_char_p
    return question().decode()


def _refused(reason: str, path: Path) -> Library:
    _warn(
        f"The CPU kernels of Inox are not used: {reason}. Results are the same within their "
        f"bounds, but slower. {SWITCH}=off in the environment silences this."
    )
    return Library(None, reason, path)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
