"""A program for a process of its own: prints what the kernels give under its environment.

    python -m tests.kernels.native_program digest   # of all bits of the results
    python -m tests.kernels.native_program errors   # those over their bounds

INOX_TEST_PROCESSORS limits the processors, and with them XLA's threads.
"""

import hashlib
import os
import sys

import jax
import numpy as np

from tests.accuracy.cases import CASES, DTYPES
from tests.kernels import native_calls
from tests.kernels.native_cases import LAYOUTS, measured, operands, over

# Large enough for several tasks, of rows and of columns, in parts and by sample.
LARGE = [
    (1, 1500, 1, 1, 520),
    (2, 700, 1, 12, 40),
    (1, 1, 9000, 40, 1),
    (1, 12, 300, 8, 9),
    (3, 1, 4, 2500, 2),
    (1, 1, 1, 1, 400_001),
]
NORMAL = next(case for case in CASES if case.name == "mean/std 0")


def digest() -> str:
    """A hash of the results of large calls."""
    found = hashlib.sha256()
    rng = np.random.default_rng(0)
    for shape in LARGE:
        for dtype in ("float32", "bfloat16", "float64"):
            given = operands(NORMAL, shape, dtype, rng)
            x, dy, scale = given["x"], given["dy"], given["scale"]
            whole = x.reshape(-1, *shape[2:])
            mean, mean_low, var = native_calls.moments(whole)
            sums = native_calls.centred_sums(dy.reshape(whole.shape), whole, mean, mean_low)
            for result in (
                native_calls.normalize(x, scale, given["bias"]),
                *native_calls.cotangent(dy, x, scale),
                *(mean, mean_low, var, *sums),
            ):
                found.update(np.ascontiguousarray(result).tobytes())
    return found.hexdigest()


def errors() -> list[str]:
    """The errors over their bounds on the hard cases."""
    wrong = []
    rng = np.random.default_rng(1)
    for dtype in DTYPES:
        for layout, shape in LAYOUTS.items():
            for case in CASES:
                if dtype in case.dtypes:
                    given = operands(case, shape, dtype, rng)
                    found = measured(**given, epsilon=case.epsilon)
                    wrong += [
                        f"{dtype} {layout} {case.name}: {error}"
                        for error in over(found, dtype, case.dominated)
                    ]
    return wrong


if __name__ == "__main__":
    if "INOX_TEST_PROCESSORS" in os.environ:  # before XLA starts and counts them
        allowed = sorted(os.sched_getaffinity(0))[: int(os.environ["INOX_TEST_PROCESSORS"])]
        os.sched_setaffinity(0, allowed)
    jax.config.update("jax_enable_x64", True)
    result = digest() if sys.argv[1] == "digest" else errors()
    sys.stdout.write(f"{native_calls.instruction_set()}\n{result}\n")
