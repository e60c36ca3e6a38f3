"""A slice that holds NaN or infinity leaves the others as they are, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.accuracy.cases import CASES, DTYPES, operands
from tests.accuracy.checking import EACH_IMPLEMENTATION, compiled
from tests.accuracy.layouts import LAYOUTS

MANY = {
    name: layout
    for name, layout in LAYOUTS.items()
    if len(layout.slices.rows(np.zeros(layout.slices.shape))) > 1
}


def bits(array: np.ndarray) -> np.ndarray:
    return array.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[array.dtype.itemsize])


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", MANY.values(), ids=MANY)
def test_other_slices_are_unchanged_to_the_bit(layout, dtype, implementation, rng):
    """y, dx, mean and variance; the poisoned slice itself is NaN in y and dx."""
    slices = layout.slices
    data = operands(CASES[0], layout, dtype, rng)
    with jax.enable_x64(dtype == "float64"):
        program = compiled(layout, implementation)
        clean = {name: np.asarray(a) for name, a in program(*data).items()}
        for poison in (np.nan, np.inf, -np.inf):
            rows = slices.rows(data.x).copy()
            chosen = rng.integers(len(rows))
            rows[chosen, rng.integers(rows.shape[1])] = poison
            x = np.ascontiguousarray(slices.unrows(rows))
            _, dy, scale, bias, epsilon = data
            poisoned = program(x, dy, scale, bias, epsilon)
            for name in ("y", "dx"):
                actual = slices.rows(np.asarray(poisoned[name]))
                others = np.arange(len(rows)) != chosen
                expected = bits(slices.rows(clean[name])[others])
                np.testing.assert_array_equal(bits(actual[others]), expected)
                if layout.centred:
                    assert np.all(np.isnan(actual[chosen].astype(np.float64)))
            for name in ("mean", "var") if layout.centred else ():
                actual = np.ravel(poisoned[name])
                np.testing.assert_array_equal(
                    bits(actual[others]), bits(np.ravel(clean[name])[others])
                )
                assert not np.isfinite(actual[chosen])


@EACH_IMPLEMENTATION
def test_a_poisoned_slice_does_not_reach_the_gradients_of_other_channels(implementation, rng):
    """Batch norm: dscale and dbias of the other channels, too."""
    layout = LAYOUTS["batch, table"]
    data = operands(CASES[0], layout, "float32", rng)
    program = compiled(layout, implementation)
    clean = program(*data)
    x = jnp.asarray(data.x).at[3, 5].set(jnp.nan)
    poisoned = program(x, *list(data)[1:])
    others = np.arange(36) != 5
    for name in ("dscale", "dbias"):
        np.testing.assert_array_equal(poisoned[name][others], clean[name][others])
