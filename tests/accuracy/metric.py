"""How an error is measured: in units in the last place, of a number that isn't smaller than fair.

The unit in the last place of a number is the distance between its neighbours in the dtype of the
result. A result is a difference of numbers that were rounded, and where they cancel, its own unit
says nothing; so the unit is that of the larger of the exact result and a floor, which is told for
each result in :func:`errors`.
"""

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tests.accuracy.oracle import Exact, Wide, widened


def ulp(number: ArrayLike, dtype: np.dtype) -> np.ndarray:
    """The unit in the last place of `number` (in extended precision) in `dtype`."""
    information = jnp.finfo(dtype)
    _, exponent = np.frexp(np.abs(np.asarray(number, Wide)))
    # frexp gives a mantissa below 1, and below the least normal number all units are equal.
    exponent = np.maximum(exponent - 1, information.minexp)
    return np.ldexp(Wide(1), (exponent - information.nmant).astype(np.int32))


def worst(actual: ArrayLike, exact: np.ndarray, unit: np.ndarray) -> float:
    """The largest error in the given units: infinity where a result is not finite.

    An infinite result is right where the exact one rounds to infinity, as dx may in float16.
    """
    actual = np.asarray(actual)
    largest = Wide(float(jnp.finfo(actual.dtype).max))
    overflown = np.isinf(widened(actual)) & (np.abs(exact) >= largest)
    overflown &= np.sign(widened(actual)) == np.sign(exact)
    with np.errstate(invalid="ignore"):
        error = np.where(overflown, 0, np.abs(widened(actual) - exact) / unit)
    return float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))


def errors(
    exact: Exact,
    scale: ArrayLike,
    *,
    y: ArrayLike | None = None,
    dx: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    var: ArrayLike | None = None,
    dscale: ArrayLike | None = None,
    dbias: ArrayLike | None = None,
) -> dict[str, float]:
    """The worst error of each of the results given, by name.

    y     ulp(max(|y|, |scale|))
    dx    ulp(max(|dx|, rstd rms(dy scale)))
    mean  ulp(max(|mean|, standard deviation))
    var   ulp(var)
    dscale, dbias  eps times the sum of abs(dy) max(abs(xhat), 1), and of abs(dy), eps the distance
          from 1 to the next number: the unit of a sum in which nothing cancels. As for y, xhat
          counts as 1 at least, because it is a difference itself
    """
    units = {}
    if y is not None:
        floor = np.broadcast_to(np.abs(widened(scale)), exact.y.shape)
        units["y"] = ulp(np.maximum(np.abs(exact.y), floor), np.asarray(y).dtype)
    if dx is not None:
        floor = np.maximum(np.abs(exact.dx), exact.dx_floor)
        units["dx"] = ulp(floor, np.asarray(dx).dtype)
    if mean is not None:
        floor = np.maximum(np.abs(exact.mean), np.sqrt(exact.var))
        units["mean"] = ulp(floor, np.asarray(mean).dtype)
    if var is not None:
        units["var"] = ulp(exact.var, np.asarray(var).dtype)
    for name, terms, given in (
        ("dscale", exact.dscale_terms, dscale),
        ("dbias", exact.dbias_terms, dbias),
    ):
        if given is not None:
            information = jnp.finfo(np.asarray(given).dtype)
            least = Wide(float(information.smallest_normal))
            units[name] = Wide(float(information.eps)) * np.maximum(terms, least)
    given = {"y": y, "dx": dx, "mean": mean, "var": var, "dscale": dscale, "dbias": dbias}
    result: dict[str, float] = {}
    for name, unit in units.items():
        actual = np.asarray(given[name]).reshape(unit.shape)
        result[name] = worst(actual, getattr(exact, name), unit)
    return result
