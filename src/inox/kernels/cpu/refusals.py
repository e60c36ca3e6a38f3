"""What stands in the place of kernels that this process lacks: a call of one tells why.

A program that was stored with kernels in it calls them by name. Where there are none, XLA would
only say that nobody has registered the name. So a handler is registered that fails with a reason.
It is written in Python, after XLA's interface in C, of which it needs the beginning of three
structures; those only ever grow at their end.
"""

import ctypes
from collections.abc import Iterable
from typing import Any

import jax

METADATA = 1  # XLA_FFI_Extension_Metadata: the runtime asks which interface a handler was built for
UNIMPLEMENTED = 12  # XLA_FFI_Error_Code_UNIMPLEMENTED


class _Version(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    ]


class _Metadata(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("version", _Version),
        ("traits", ctypes.c_uint32),
    ]


class _Extension(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(_Metadata)),
    ]


class _Error(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    ]


class _Interface(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("error_create", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Error))),
    ]


class _Frame(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.POINTER(_Extension)),
        ("interface", ctypes.POINTER(_Interface)),
    ]


_Handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Frame))
_registered: list[Any] = []  # they must live as long as the process


def register_refusals(targets: Iterable[str], reason: str) -> None:
    """Registers a handler for each target that fails with `reason`."""
    message = (
        "this program was stored with the CPU kernels of Inox, which this process lacks: "
        f"{reason}. Install Inox with its kernels, or store the program without them: with "
        "implementation='xla', or in a process with INOX_KERNELS=off."
    ).encode()

    def answer(frame: Any) -> int | None:
        interface = frame.contents.interface.contents
        if frame.contents.extension_start:
            extension = frame.contents.extension_start.contents
            if extension.type == METADATA:
                version = extension.metadata.contents.version
                version.major, version.minor = interface.version.major, interface.version.minor
                extension.metadata.contents.traits = 0
                return None
        error = _Error(ctypes.sizeof(_Error), None, message, UNIMPLEMENTED)
        return interface.error_create(ctypes.byref(error))

    handler = _Handler(answer)
    _registered.append(handler)
    for target in targets:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(handler), platform="cpu")
