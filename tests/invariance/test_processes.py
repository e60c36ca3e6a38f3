"""Threads change no bit, and each instruction set by itself keeps the promise."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.invariance.grid import require
from tests.kernels import native_calls
from tests.user_environment import user_environment

ROOT = Path(__file__).parents[2]


def printed(**environment: str) -> list[str]:
    """The instruction set, the digest and the violations, from a process with these variables."""
    require("cpu")
    done = subprocess.run(
        [sys.executable, "-m", "tests.invariance.program"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=user_environment(**environment),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_number_of_threads_changes_no_bit():
    """One processor, or all of them: y and dx of whole batches are the same."""
    used, digest, wrong = printed()
    assert wrong == "[]"
    assert printed(INOX_TEST_PROCESSORS="1") == [used, digest, wrong]


@pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])
def test_each_instruction_set_keeps_the_promise(instruction_set):
    """Within one instruction set; two of them may differ in the last bit of float64."""
    if instruction_set not in native_calls.instruction_sets():
        pytest.skip(f"this processor, or this library, has no {instruction_set}")
    if instruction_set == native_calls.instruction_set():
        pytest.skip("the set in use by itself: the test above, and the grid")
    used, _, wrong = printed(INOX_INSTRUCTION_SET=instruction_set)
    assert used == instruction_set
    assert wrong == "[]"
