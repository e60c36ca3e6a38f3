"""The time that importing this package takes beyond importing JAX."""

import os
import subprocess
import sys

from .environment import ROOT

PROGRAM = """
import time
import jax
start = time.perf_counter()
import inox
import inox.functional
import inox.nn
print(time.perf_counter() - start)
"""


def import_seconds(rounds: int) -> list[float]:
    """A new process each time; the first one, which may write compiled files, isn't counted."""
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    found = [
        float(
            subprocess.run(
                [sys.executable, "-c", PROGRAM],
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                check=True,
                text=True,
            ).stdout
        )
        for _ in range(rounds + 1)
    ]
    return found[1:]
