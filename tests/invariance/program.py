"""A program for a process of its own: every cell of a small grid, under its environment.

Prints the instruction set, a digest of y and dx of all cells, and where an example's bits depend
on what stands beside it. INOX_TEST_PROCESSORS limits the processors, and with them XLA's threads.
"""

import hashlib
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np

from inox.kernels.cpu.library import library
from tests.invariance.batches import companies, draw, run, violations
from tests.layouts import Layout
from tests.registry import OPERATIONS

# A kernel each, large enough for several threads where `images` are.
CELLS = (
    ("layer_norm", Layout((1000,)), "float32"),
    ("layer_norm", Layout((100,)), "bfloat16"),
    ("layer_norm", Layout((100,)), "float64"),
    ("rms_norm", Layout((3,)), "float32"),
    ("group_norm", Layout((30, 48), {"groups": 6}), "float16"),
    ("group_norm", Layout((12,), {"groups": 3}), "float64"),
    ("layer_norm", Layout((90, 50, 16), {"axis": (-3, -2)}), "float64"),
    ("group_norm", Layout((90, 50, 16), {"groups": 2, "axis": (-3, -2, -1)}), "float32"),
)


def main() -> None:
    """Goes through the cells."""
    named = {operation.name: operation for operation in OPERATIONS}
    digest, wrong = hashlib.sha256(), []
    for name, example, dtype in CELLS:
        batch = draw(named[name], example, jnp.dtype(dtype))
        found = list(companies(run(named[name], example, "cpu"), batch))
        for results in found[0][2]:
            digest.update(np.ascontiguousarray(results).tobytes())
        wrong += [f"{name} {example} {dtype}: {line}" for line in violations(iter(found))]
    sys.stdout.write(f"{library().instruction_set}\n{digest.hexdigest()}\n{wrong}\n")


if __name__ == "__main__":
    if "INOX_TEST_PROCESSORS" in os.environ:  # before XLA starts and counts them
        allowed = sorted(os.sched_getaffinity(0))[: int(os.environ["INOX_TEST_PROCESSORS"])]
        os.sched_setaffinity(0, allowed)
    jax.config.update("jax_enable_x64", True)
    main()
