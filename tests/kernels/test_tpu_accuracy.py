"""The kernels for TPU keep the bounds of the formulas, on the data that the accuracy tests use."""

import jax
import pytest

from tests.accuracy.cases import CASES, operands
from tests.accuracy.checking import measured, over
from tests.accuracy.layouts import LAYOUTS, group, layer
from tests.kernels.tpu_kernels import on_the_cpu

# Less than the lanes of a register, and more.
ROWS = {one.name: one for one in (layer("short rows", (48, 8), (-1,)), LAYOUTS["layer, rows"])}
ROWS |= {"rms, rows": LAYOUTS["rms, rows"]}
# Sixteen slices beside one another in the lanes.
ROWS |= {"groups": group("groups", (2, 5, 128), 16, (-1,))}


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """They are what the CPU runs in this file."""
    with on_the_cpu():
        yield


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float32") for name in ROWS), ("layer, rows", "bfloat16")]
)
def test_every_result_is_within_its_bound(name, dtype, rng):
    """y, dx, dscale and dbias on all the kinds of data that fit the dtype."""
    layout = ROWS[name]
    program, found = jax.jit(layout.program("tpu")), []
    for case in CASES:
        if dtype in case.dtypes:
            errors = measured(layout, program, operands(case, layout, dtype, rng))
            # `moments` has no kernel for TPU, and here not the sums of the CPU either.
            errors = {name: e for name, e in errors.items() if name not in ("mean", "var")}
            texts = over(errors, dtype, case.dominated, layout=layout)
            found += [f"{case.name}: {text}" for text in texts]
    assert found == []
