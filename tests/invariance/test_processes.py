"""Threads change no bit, and each instruction set by itself keeps the promise."""

import pytest

from tests import user_environment
from tests.invariance.grid import require
from tests.kernels import native_calls


def printed(**environment: str) -> list[str]:
    """The instruction set, the digest and the violations, from a process with these variables."""
    require("cpu")
    return user_environment.printed("tests.invariance.program", **environment)


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
