"""The file of the shared library: where it lies, whether it is whole, and why there is none."""

import os
import struct
from pathlib import Path

NAMES = ("libinox_kernels.so", "libinox_kernels.dylib")


def library_file() -> Path | None:
    """The shared library of this package, and of no other place."""
    return _in_package(*NAMES)


def why_not_built() -> str:
    """Why the package has no library: what the build left in its place says it."""
    note = _in_package("not_built.txt")
    if note is None:
        return "not part of this installation (it was not built: `pip install .` builds it)"
    told = " ".join(note.read_text(encoding="utf-8", errors="replace").split())
    return f"not part of this installation (it was built without a working C++ compiler: {told})"


def cut_off(path: Path) -> str:
    """By how much a file is shorter than its own headers say; empty if it isn't.

    The loader maps what is missing all the same, and the process dies of a bus error when it is
    touched. This is told for ELF; the loaders of other formats refuse such a file themselves.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = file.read(64)
        if header[:6] != b"\x7fELF\x02\x01":  # of 64 bits, little-endian
            return ""
        if len(header) < 64:
            return f"{size} bytes of at least 64"
        programs, sections = struct.unpack_from("<QQ", header, 32)
        program_size, program_count, section_size, section_count = struct.unpack_from(
            "<4H", header, 54
        )
        ends = [programs + program_size * program_count, sections + section_size * section_count]
        file.seek(programs)
        table = file.read(program_size * program_count)
    for at in range(0, len(table) - 55, program_size or 56):
        offset, _, _, length = struct.unpack_from("<4Q", table, at + 8)
        ends.append(offset + length)
    return f"{size} bytes of {max(ends)}" if max(ends) > size else ""


def _in_package(*names: str) -> Path | None:
    from . import __path__ as folders  # an editable installation has two: sources and build

    for folder in folders:
        for name in names:
            if (path := Path(folder) / "lib" / name).is_file():
                return path
    return None
