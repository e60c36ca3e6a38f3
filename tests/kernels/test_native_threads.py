"""Threads change no bit of a result, and every instruction set keeps to the bounds."""

import concurrent.futures

import jax
import numpy as np
import pytest

from tests import user_environment
from tests.accuracy.cases import CASES
from tests.kernels import native_calls
from tests.kernels.native_cases import operands

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
NORMAL = next(case for case in CASES if case.name == "mean/std 0")


def printed(what: str, **environment: str) -> list[str]:
    """The lines of `native_program` in a process with these variables."""
    native_calls.library()  # or skip
    return user_environment.printed("tests.kernels.native_program", what, **environment)


def test_results_do_not_depend_on_the_number_of_threads():
    """One processor or all of them, with XLA's threads or without: the same bits."""
    everywhere = printed("digest")
    assert printed("digest", INOX_TEST_PROCESSORS="1") == everywhere
    single = "--xla_cpu_multi_thread_eigen=false"
    assert printed("digest", XLA_FLAGS=single) == everywhere


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_instruction_set_is_within_the_bounds(instruction_set):
    """The kernels are chosen by the environment, among those the processor has, and are exact."""
    if instruction_set not in native_calls.instruction_sets():
        pytest.skip(f"this processor, or this library, has no {instruction_set}")
    used, wrong = printed("errors", INOX_INSTRUCTION_SET=instruction_set)
    assert used == instruction_set
    assert wrong == "[]"


def test_an_unknown_instruction_set_changes_nothing():
    """A misspelt name, of which a warning tells, leaves the processor's own."""
    default, _ = printed("digest", INOX_INSTRUCTION_SET="", INOX_TEST_PROCESSORS="1")
    used, _ = printed("digest", INOX_INSTRUCTION_SET="avx1024", INOX_TEST_PROCESSORS="1")
    assert used == default


def test_several_calls_at_once(rng):
    """Calls from several threads, each with several tasks, all end, with the bits of one alone."""
    shapes = [(1, 1024, 1, 1, 512), (1, 1, 8192, 64, 1), (1, 16, 128, 8, 32)]
    jobs = []
    for shape in shapes:
        given = operands(NORMAL, shape, "float32", rng)
        given = {name: jax.device_put(array) for name, array in given.items()}
        jobs += [lambda given=given: native_calls.normalize(given["x"], given["scale"])]
        jobs += [
            lambda given=given: np.concatenate(
                [r.ravel() for r in native_calls.cotangent(given["dy"], given["x"])]
            )
        ]
    alone = [job() for job in jobs]
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        for _ in range(10):
            for one, other in zip(alone, threads.map(lambda job: job(), jobs), strict=True):
                np.testing.assert_array_equal(one, other)


def test_calls_of_one_program_run_at_once(rng):
    """Independent calls in one computation, which XLA may start together, don't wait for ever."""
    given = operands(NORMAL, (1, 2048, 1, 1, 256), "float32", rng)
    x = jax.device_put(given["x"])
    arrays = [x * np.float32(factor) for factor in (1, 2, 4, 8, 16, 32)]
    native_calls.library()
    epsilon, nothing = np.float32([1e-5]), np.zeros(0, np.float32)

    @jax.jit
    def program(arrays):
        call = jax.ffi.ffi_call(
            native_calls.target("inox_normalize"), native_calls.like(x.shape, x.dtype)
        )
        settings = {"centred": np.bool_(True), "shape": native_calls.sizes(x)}
        return [call(a, epsilon, nothing, nothing, **settings) for a in arrays]

    expected = [native_calls.normalize(a) for a in arrays]
    for _ in range(20):
        for one, other in zip(program(arrays), expected, strict=True):
            np.testing.assert_array_equal(one, other)
