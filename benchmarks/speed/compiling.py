"""The time from a function to a compiled program, in a process of its own with a limit of time.

Run as a program, it takes the name of a contestant and a number of norms, compiles the gradient of
their chain, and prints the seconds.
"""

import os
import subprocess
import sys
import time

from .environment import ROOT


def compile_seconds(name: str, norms: int, limit: float) -> float | None:
    """Tracing, lowering and compiling, with no cache on disk; None where it takes longer.

    The limit holds for the whole process, which needs about a second to start.
    """
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    settings = {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, "-m", "benchmarks.speed.compiling", name, str(norms)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout)


def main(name: str, norms: int) -> None:
    """Compiles, and prints the seconds."""
    import jax

    from .tracing import chain_gradient

    function, given = chain_gradient(name, norms)
    start = time.perf_counter()
    jax.jit(function).lower(*given).compile()
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
