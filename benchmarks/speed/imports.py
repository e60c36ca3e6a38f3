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
    """A new process each time; the first one, which writes byte code, isn't counted.

    An installed package has its byte code; where the environment forbids Python to write any, each
    import would compile the sources again, and take three times as long.
    """
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}
    found = [
        float(
            subprocess.run(
                [sys.executable, "-c", PROGRAM],
                env=environment,
                capture_output=True,
                check=True,
                text=True,
            ).stdout
        )
        for _ in range(rounds + 1)
    ]
    return found[1:]
