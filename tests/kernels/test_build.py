"""Builds of the kernels: without a compiler they say why, with one they never fail in silence."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="no cmake, or no compiler"
)


def configured(build: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The sources, configured in a folder without the headers of XLA."""
    return subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(build), "-DINOX_BUILD_LIBRARY=OFF", *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_without_a_compiler_what_is_installed_says_why(tmp_path):
    """The second attempt of pyproject.toml: a note with CMake's message in place of the library."""
    done = configured(tmp_path / "build", "-DINOX_WITHOUT_COMPILER=ON", CXX=shutil.which("false"))
    assert done.returncode == 0, done.stderr
    subprocess.run(
        ["cmake", "--install", tmp_path / "build", "--prefix", tmp_path],
        check=True,
        capture_output=True,
    )
    note = (tmp_path / "inox" / "kernels" / "cpu" / "lib" / "not_built.txt").read_text()
    assert "is not able to compile a simple test program" in " ".join(note.split())


def test_without_a_compiler_the_first_attempt_fails(tmp_path):
    """So that pyproject.toml's second one makes the wheel a pure one."""
    done = configured(tmp_path, CXX=shutil.which("false"))
    assert done.returncode != 0
    assert "There is no working C++ compiler" in done.stderr


def test_with_a_compiler_the_second_attempt_fails_too(tmp_path):
    """A compiler that works, and a build that failed: an error in the kernels, not a pure wheel."""
    done = configured(tmp_path, "-DINOX_WITHOUT_COMPILER=ON")
    assert done.returncode != 0
    assert "the kernels did not build" in " ".join(done.stderr.split())


def test_options_of_the_environment_come_before_those_for_exact_arithmetic(tmp_path):
    """-ffast-math and kin in CXXFLAGS and LDFLAGS are overruled, for every file and the link."""
    options = ("-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DINOX_BUILD_TESTS=ON", "-GUnix Makefiles")
    fast = "-Ofast -ffast-math -funsafe-math-optimizations"
    done = configured(tmp_path, *options, CXXFLAGS=fast, LDFLAGS=fast)
    assert done.returncode == 0, done.stderr
    commands = [
        entry["command"] for entry in json.loads((tmp_path / "compile_commands.json").read_text())
    ]
    link = tmp_path / "CMakeFiles" / "inox_kernels_test.dir" / "link.txt"
    for command in [*commands, link.read_text()]:
        words = command.split()
        assert words.index("-fno-fast-math") > words.index("-ffast-math")
        last = len(words) - words[::-1].index("-funsafe-math-optimizations")
        assert words.index("-fno-unsafe-math-optimizations") >= last
        levels = [word for word in words if word.startswith("-O")]
        assert levels[-1] == "-O3"
