"""Eager, jitted and vmapped calls are each within the bounds, and so of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.accuracy.cases import CASES, operands
from tests.accuracy.checking import EACH_IMPLEMENTATION, measured, over
from tests.accuracy.layouts import LAYOUTS

CHOSEN = ("mean/std 0", "mean/std 1e7", "constant", "up to 1e18")
NAMES = (
    "layer, rows",
    "layer, kept axis between",
    "rms, rows",
    "group, over the image",
    "batch, table",
)


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_eager_calls_are_within_the_bounds(name, dtype, implementation, rng):
    layout = LAYOUTS[name]
    for case in CASES:
        if case.name in CHOSEN:
            data = operands(case, layout, dtype, rng)
            on_device = type(data)(*map(jnp.asarray, data))
            errors = measured(layout, layout.program(implementation), on_device)
            which = {"layout": layout, "implementation": implementation}
            assert over(errors, dtype, **which) == [], case.name


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_vmapped_calls_are_within_the_bounds(name, dtype, implementation, rng):
    """The cases are stacked, with parameters of their own: each must come out as if alone.

    They share epsilon: with one for each, the kernels leave the call to XLA.
    """
    layout = LAYOUTS[name]
    cases = [case for case in CASES if case.name in CHOSEN and dtype in case.dtypes]
    stacked = [operands(case, layout, dtype, rng) for case in cases]
    program = jax.jit(jax.vmap(layout.program(implementation), (0, 0, 0, 0, None)))
    *arrays, epsilons = (np.stack(arrays) for arrays in zip(*stacked, strict=True))
    assert np.ptp(epsilons) == 0
    together = program(*arrays, epsilons[0])
    for i, (case, data) in enumerate(zip(cases, stacked, strict=True)):
        one = {name: array[i] for name, array in together.items()}
        errors = measured(layout, lambda *_, one=one: one, data)
        which = {"layout": layout, "implementation": implementation}
        assert over(errors, dtype, **which) == [], case.name
