"""Eager, jitted and vmapped calls are each within the bounds, and so of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.accuracy.cases import CASES, operands
from tests.accuracy.checking import measured, over
from tests.accuracy.layouts import LAYOUTS

CHOSEN = ("mean/std 0", "mean/std 1e7", "constant", "up to 1e18")
NAMES = ("layer, rows", "layer, kept axis between", "rms, rows", "group, over the image",
         "batch, table")  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_eager_calls_are_within_the_bounds(name, dtype, rng):
    layout = LAYOUTS[name]
    for case in CASES:
        if case.name in CHOSEN:
            data = operands(case, layout, dtype, rng)
            on_device = type(data)(*map(jnp.asarray, data))
            assert over(measured(layout, layout.program(), on_device), dtype) == [], case.name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_vmapped_calls_are_within_the_bounds(name, dtype, rng):
    """The cases are stacked, with parameters of their own: each must come out as if alone."""
    layout = LAYOUTS[name]
    cases = [case for case in CASES if case.name in CHOSEN and dtype in case.dtypes]
    stacked = [operands(case, layout, dtype, rng) for case in cases]
    program = jax.jit(jax.vmap(layout.program()))
    together = program(*(np.stack(arrays) for arrays in zip(*stacked, strict=True)))
    for i, (case, data) in enumerate(zip(cases, stacked, strict=True)):
        one = {name: array[i] for name, array in together.items()}
        assert over(measured(layout, lambda *_, one=one: one, data), dtype) == [], case.name
