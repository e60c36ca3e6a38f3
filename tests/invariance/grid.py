"""Which operations, examples, dtypes and implementations the tests go through."""

import pytest

from inox.kernels.backends import BACKENDS
from tests.registry import INVARIANT, OPERATIONS

APART = [operation for operation in OPERATIONS if operation.examples]
# float64 hides nothing: a sum that is added up in another order shows in its last bits, where the
# kernels of float32, which are the same ones, round it. Half types have kernels of their own.
OF_ALL, OF_ONE = ("float64",), ("float32", "bfloat16", "float16")
GRID = [
    pytest.param(operation, example, dtype, id=f"{operation}-{example}-{dtype}")
    for operation in APART
    for example in operation.examples
    for dtype in OF_ALL + (OF_ONE if example == operation.examples[0] else ())
]


def require(implementation: str) -> None:
    """Skips a test where an implementation is not there."""
    (backend,) = (one for one in BACKENDS.values() if one.name == implementation)
    if reason := backend.missing():
        pytest.skip(f"the kernels of {implementation} are not in use: {reason}")


EACH_IMPLEMENTATION = pytest.mark.parametrize("implementation", INVARIANT)
EACH_OPERATION = pytest.mark.parametrize("operation", APART, ids=str)
EACH_CELL = pytest.mark.parametrize(("operation", "example", "dtype"), GRID)
