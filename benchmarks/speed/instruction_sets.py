"""The kernels of each instruction set that this processor has: which, and how they are chosen."""

import ctypes

VARIABLE = "INOX_INSTRUCTION_SET"


def in_use() -> str | None:
    """The one that this process has taken; None without kernels."""
    from inox.kernels.cpu.library import library

    return library().instruction_set


def available() -> list[str]:
    """Those that a process may choose, from the lowest on."""
    from inox.kernels.cpu.library import library

    found = library()
    if not found.available:
        return []
    question = ctypes.CDLL(str(found.path)).inox_instruction_sets
    question.restype = ctypes.c_char_p
    return question().decode().split()
