"""The shared library is loaded from the package alone, and declined where it can't run."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import jaxlib
import numpy as np
import pytest

import inox.kernels.cpu
from inox.kernels.cpu import library as loading
from inox.kernels.cpu.library_file import cut_off
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
    monkeypatch.setattr(loading, "library_file", lambda: broken if kind == "no library" else other)
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


@needs_kernels
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999999])
def test_a_library_that_is_cut_off_is_refused(share, monkeypatch, tmp_path):
    """An interrupted copy is told before the loader maps it, which would end in a bus error."""
    whole = loading.library().path.read_bytes()
    part = tmp_path / "libinox_kernels.so"
    part.write_bytes(whole[: int(share * len(whole))])
    monkeypatch.setattr(loading, "library_file", lambda: part)
    with pytest.warns(RuntimeWarning, match=r"cut off: \d+ bytes of \d+; install Inox again"):
        assert not loading.library.__wrapped__().available
    assert cut_off(loading.library().path) == ""


def test_why_the_kernels_were_not_built_is_kept_and_told(monkeypatch, tmp_path):
    """The note of the build is the reason; without one, how to build them."""
    monkeypatch.setattr(inox.kernels.cpu, "__path__", [str(tmp_path)])
    monkeypatch.delenv("INOX_KERNELS", raising=False)
    assert "pip install ." in loading.library.__wrapped__().reason
    note = tmp_path / "lib" / "not_built.txt"
    note.parent.mkdir()
    note.write_text("CMake Error: no g++\n\n  was found.\n", encoding="utf-8")
    found = loading.library.__wrapped__()
    assert not found.available
    assert "without a working C++ compiler: CMake Error: no g++ was found." in found.reason


def test_a_switch_that_asks_for_kernels_that_are_not_there_warns(monkeypatch, tmp_path):
    """INOX_KERNELS=on is no promise that can be kept without a library."""
    monkeypatch.setattr(inox.kernels.cpu, "__path__", [str(tmp_path)])
    monkeypatch.setenv("INOX_KERNELS", "on")
    with pytest.warns(RuntimeWarning, match="INOX_KERNELS=on asks for the CPU kernels"):
        assert not loading.library.__wrapped__().available


def report(**environment: str) -> tuple[str, str]:
    """What `python -m inox` prints, and what it warns of, in this environment."""
    done = subprocess.run(
        [sys.executable, "-m", "inox"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout, done.stderr


@needs_kernels
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("INOX_KERNELS", "none", "off, 0, false, no switch them off; on, 1, true, yes"),
        ("INOX_KERNELS", "of", "off, 0, false, no switch them off; on, 1, true, yes"),
        ("INOX_INSTRUCTION_SET", "AVX2", "(baseline"),
        ("INOX_INSTRUCTION_SET", "avx1024", "(baseline"),
    ],
)
def test_a_switch_that_means_nothing_is_told(name, value, told):
    """The kernels stay as they are, and a warning lists what may be said."""
    plain, _ = report()
    printed, warned = report(**{name: value})
    assert printed == plain
    assert f"RuntimeWarning: {name}={value} " in warned
    assert told in warned


@needs_kernels
@pytest.mark.parametrize(("value", "used"), [("TRUE", True), ("", True), ("No", False)])
def test_a_switch_that_is_known_is_heeded_in_silence(value, used):
    """In upper or lower case; no value is the default."""
    printed, warned = report(INOX_KERNELS=value)
    assert ("in use" in printed) == used
    assert warned == ""


@needs_kernels
def test_loading_the_library_leaves_the_arithmetic_of_the_process_alone():
    """Denormal numbers stay: a library linked with -ffast-math would flush them to 0 everywhere."""
    assert np.float32(1e-38) * np.float32(0.01) > 0
    assert np.float64(1e-307) * np.float64(0.001) > 0
