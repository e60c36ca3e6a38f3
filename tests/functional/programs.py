"""One compiled program for a whole test: values and gradients, with and without a mask."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tests import oracle
from tests.functional.closeness import assert_all_close
from tests.layouts import Layout
from tests.registry import Operation, draw_mask, spoil


def quick_jit(function: Callable) -> Callable:
    """`jax.jit` that spends less than half the time compiling.

    For tests of transformations and of many layouts: what they check is settled before the code
    generator optimizes. The first layouts and the dtypes are compiled as users compile them.
    """
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def values_and_gradients(operation: Operation, layout: Layout, jit: Callable = jax.jit) -> Callable:
    """The jitted (arrays, where, cotangents) -> (results, gradients by name of the array)."""

    @jit
    def program(arrays, where, cotangents):
        def results(arrays):
            named = operation.call(arrays, where, **layout.static)
            return {name: named[name] for name in operation.results}

        values, pullback = jax.vjp(results, arrays)
        return values, pullback(cotangents)[0]

    return program


def result_dtypes(operation: Operation, arrays: dict[str, np.ndarray]) -> dict[str, np.dtype]:
    """By name: y and r have the dtype of x; a mean and a variance have at least float32."""
    x = arrays["x"].dtype
    statistics = np.dtype(np.float64 if x == np.float64 else np.float32)
    return {name: x if name in ("y", "r") else statistics for name in operation.results}


def check_against_oracle(
    operation: Operation,
    layout: Layout,
    dtype: Any,
    parameter_dtype: Any = None,
    jit: Callable = jax.jit,
) -> None:
    """Values and gradients, unmasked and masked (with NaN and inf in the padding)."""
    arrays = operation.draw(layout, dtype, parameter_dtype=parameter_dtype)
    dtypes = result_dtypes(operation, arrays)
    reference = operation.reference(layout)
    program = values_and_gradients(operation, layout, jit)
    for where in (None, draw_mask(layout)):
        given = arrays if where is None else arrays | {"x": spoil(arrays["x"], where)}
        exact = reference.evaluate(oracle.as_float64(given), where)
        cotangents = operation.cotangents(exact, dtypes)
        values, gradients = program(given, where, cotangents)
        assert {name: value.dtype for name, value in values.items()} == dtypes
        assert {name: g.dtype for name, g in gradients.items()} == {
            name: array.dtype for name, array in arrays.items()
        }
        label = "unmasked" if where is None else "masked"
        assert_all_close(values, exact, label)
        check_gradients(reference, gradients, given, cotangents, where, label)
        if where is not None and "y" in values:
            assert (np.asarray(values["y"])[~where] == 0).all()
        if where is not None:
            assert (np.asarray(gradients["x"])[~where] == 0).all()


def check_gradients(
    reference, gradients: dict, arrays: dict, cotangents: dict, where: Any = None, label: str = ""
) -> None:
    """Gradients against the oracle's, with tolerances relative to the terms of their sums."""
    wide = oracle.as_float64(arrays), oracle.as_float64(cotangents), where
    exact, sizes = reference.pullback(*wide), reference.sizes(*wide)
    statistics = np.float64 if arrays["x"].dtype == np.float64 else np.float32
    assert_all_close(gradients, exact, f"{label} gradient", sizes=sizes, statistics=statistics)
