"""How hard XLA works on the programs of a test: as for users, or as little as it can.

Most tests compare results with numbers in double precision, within bounds that hold whatever the
compiler does, and their programs run once, on a few numbers: three fifths of such a test is XLA's
compiler. Where what it makes of a program is the matter (rounding errors, bits, kernels, bytes), it
compiles as it does for users.
"""

from pathlib import Path
from typing import Any

import jax
from jax._src import compiler

# In these folders programs are compiled as for users, unless a test is marked `compiled_quickly`;
# elsewhere quickly, unless a test is marked `compiled_as_for_users`.
AS_FOR_USERS = ("accuracy", "benchmarks", "invariance", "kernels")
# Without the generators of whole fusions, XLA's older and quicker ones write the code; LLVM leaves
# it as it is. In seconds of a processor (AVX2), the gradient of batch norm by formulas: 0.86 to
# 0.19; 83 tests of calibration and devices: 92 to 53.
QUICKLY: dict[str, bool | int] = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # later ones have no other generators (0.12)
    QUICKLY["xla_cpu_use_fusion_emitters"] = False

# What JAX asks XLA for, from jax 0.10 to 0.12. There is a public way to ask for each function that
# is compiled, and none for all; where this one is gone, `test_compiling.py` says so.
options_for_users = compiler.get_compile_options
quick = False


def options(*arguments: Any, **settings: Any) -> Any:
    """What JAX asks XLA for, and ours."""
    asked = options_for_users(*arguments, **settings)
    if quick:
        asked.env_option_overrides = [*asked.env_option_overrides, *QUICKLY.items()]
    return asked


def quick_flags() -> str:
    """The same for a process of its own, as `XLA_FLAGS`."""
    return " ".join(f"--{name}={int(value)}" for name, value in QUICKLY.items())


def install() -> None:
    """Have JAX ask here."""
    compiler.get_compile_options = options


def wants_quick(path: Path, tests: Path, marks: set[str]) -> bool:
    """Whether the programs of a test are compiled quickly."""
    if "compiled_quickly" in marks or "compiled_as_for_users" in marks:
        return "compiled_quickly" in marks
    return path.relative_to(tests).parts[0] not in AS_FOR_USERS


def choose(quickly: bool) -> None:
    """For the tests to come. Programs compiled the other way are forgotten."""
    global quick
    if quick != quickly:
        quick = quickly
        jax.clear_caches()
