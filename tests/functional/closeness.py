"""How close to the float64 oracle a result must be."""

from typing import Any

import jax.numpy as jnp
import numpy as np

# Every sum in this grid has at most 300 terms, which XLA adds in any order: a few float32 roundings
# in the mean, the variance, its root and the product, relative to the largest entry of the array,
# since entries near zero are differences of large ones. The contract's bounds, entry by entry, are
# held by the tests of accuracy; here a wrong formula, off by 1e-3 and more, must not pass.
FACTOR = 16


def assert_close(
    actual,
    exact: np.ndarray,
    name: str = "",
    factor: float = FACTOR,
    size: np.ndarray | None = None,
    statistics: Any = np.float64,
) -> None:
    """Half an ulp of the result's dtype, its one rounding, and `factor` units of the statistics'.

    The statistics have the dtype of the result, but at least float32 and at most `statistics`.
    The latter are relative to the largest entry of `size` (of the result, where it is None): the
    sum of the absolute values of the terms, wherever terms cancel.
    """
    actual = np.asarray(actual)
    assert actual.shape == exact.shape, f"{name}: shape {actual.shape}, expected {exact.shape}"
    unit = float(jnp.finfo(actual.dtype).eps)
    smallest = float(jnp.finfo(actual.dtype).smallest_subnormal)
    coarse = float(jnp.finfo(statistics).eps)
    fine = max(min(unit, float(jnp.finfo(jnp.float32).eps)), coarse)
    largest = np.abs(exact if size is None else size).max(initial=0.0)
    allowed = 0.5 * unit * np.abs(exact) + factor * fine * largest + smallest
    error = np.abs(actual.astype(np.float64) - exact)
    worst = np.unravel_index(np.argmax(error - allowed), error.shape) if error.size else ()
    assert (error <= allowed).all(), (
        f"{name}{list(worst)}: {actual[worst]} instead of {exact[worst]}, "
        f"off by {error[worst]:.3g} where {allowed[worst]:.3g} is allowed"
    )


def assert_all_close(
    actual: dict,
    exact: dict,
    name: str = "",
    factor: float = FACTOR,
    sizes: dict | None = None,
    statistics: Any = np.float64,
) -> None:
    """`assert_close` for every entry of `actual`."""
    for key in actual:
        size = None if sizes is None else sizes[key]
        assert_close(actual[key], exact[key], f"{name} {key}", factor, size, statistics)
