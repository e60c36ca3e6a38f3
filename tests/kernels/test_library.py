"""The shared library is loaded from the package alone, and declined where it can't run."""

import ctypes
from pathlib import Path

import jaxlib
import pytest

import inox.kernels.cpu
from inox.kernels.cpu import library as loading
from tests.kernels.test_lowering import needs_kernels


def test_the_runtime_tells_its_interface():
    """jaxlib's headers are there, and say a version."""
    major, minor = loading.runtime_interface()
    assert major == 0
    assert minor > 0


@pytest.mark.parametrize(
    ("built", "runtime", "runs"),
    [
        ((0, 1), (0, 1), True),
        ((0, 1), (0, 3), True),
        ((0, 3), (0, 1), False),
        ((0, 1), (1, 1), False),
        ((0, 1), None, True),
    ],
)
def test_a_runtime_takes_what_was_built_for_an_older_one(built, runtime, runs):
    """An unknown runtime is trusted; otherwise the reason names both versions and the cure."""
    reason = loading.declined(built, runtime)
    assert (reason == "") == runs
    if not runs:
        assert all(f"{a}.{b}" in reason for a, b in (built, runtime))
        assert "install a newer jaxlib" in reason


@needs_kernels
def test_a_library_for_a_newer_runtime_is_declined_with_one_warning(monkeypatch):
    """Everything else goes on without the kernels."""
    monkeypatch.setattr(loading, "runtime_interface", lambda: (0, 0))
    with pytest.warns(
        RuntimeWarning, match=r"not used.*built for version.*INOX_KERNELS=off"
    ) as seen:
        found = loading.library.__wrapped__()
    assert len(seen) == 1
    assert not found.available


@needs_kernels
@pytest.mark.parametrize("kind", ["no library", "another library"])
def test_a_broken_library_is_declined(kind, monkeypatch, tmp_path):
    """A file that is no library, and a library without the kernels: a warning, not a crash."""
    broken = tmp_path / "libinox_kernels.so"
    broken.write_bytes(b"not a library")
    other = Path(jaxlib.__file__).parent / "libjax_common.so"
    monkeypatch.setattr(loading, "_file", lambda: broken if kind == "no library" else other)
    with pytest.warns(RuntimeWarning, match="does not load"):
        assert not loading.library.__wrapped__().available


@needs_kernels
def test_the_library_lies_in_the_package_and_knows_no_python():
    """It is one of the package's own files, and one wheel serves every Python."""
    path = loading.library().path
    assert any(path.is_relative_to(Path(folder)) for folder in inox.kernels.cpu.__path__)
    content = path.read_bytes()
    assert b"Py_Initialize" not in content
    assert b"PyObject" not in content
    handle = ctypes.CDLL(str(path))
    assert not hasattr(handle, "PyInit_libinox_kernels")
