"""The folded map held against the map and the norm, on data."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

Array = jax.Array
LinearMap = Callable[[Any, Any, Any], Any]  # of kernel, bias and x


def checked_tolerance(check: Any, tolerance: Any) -> float | None:
    """The tolerance as a number, where check and tolerance can be used; None without a check."""
    if (check is None) != (tolerance is None):
        raise ValueError(
            "check and tolerance belong together; found only one of them. Write "
            "check=(apply, x), tolerance=1e-5."
        )
    if check is None:
        return None
    if not isinstance(check, (tuple, list)) or len(check) != 2 or not callable(check[0]):
        raise TypeError(
            f"check must be a pair (apply, x), of a function apply(kernel, bias, x) and its input; "
            f"found {type(check).__name__}."
        )
    refuse_tracers(tolerance)
    if isinstance(tolerance, (str, bytes, bool, np.bool_)) or not hasattr(tolerance, "__float__"):
        raise TypeError(
            f"tolerance must be a number; found {tolerance!r}. Give the largest difference "
            "allowed, as a share of the largest output, such as 1e-5."
        )
    number = float(tolerance)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(
            f"tolerance must be a finite number from 0; found {tolerance!r}. Give the largest "
            "difference allowed, as a share of the largest output, such as 1e-5."
        )
    return number


def refuse_tracers(tree: Any) -> None:
    """Raises where a tree holds numbers that are not known."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree)):
        raise TypeError(
            "check compares numbers, which are not known under jax.jit. Fold outside of it, or "
            "leave check out."
        )


def compare(unfolded: Array, folded: Array, tolerance: float, channel_axis: int = -1) -> None:
    """Raises where the folded map's output is further from the other than the tolerance."""
    expected, found = (np.asarray(output, np.float64) for output in (unfolded, folded))
    if found.shape != expected.shape:
        raise ValueError(
            f"check's apply must give one shape with and without a bias; found {found.shape} with "
            f"the folded and {expected.shape} with the old kernel."
        )
    difference = np.abs(found - expected)
    largest = np.abs(expected).max(initial=0.0) or 1.0
    worst = float(np.max(difference / largest, initial=0.0))
    if not worst <= tolerance:  # NaN is no agreement
        place = np.unravel_index(np.argmax(difference), difference.shape)
        channel = int(place[channel_axis])
        raise ValueError(
            f"tolerance {tolerance:g} is exceeded: folded and unfolded output differ by up to "
            f"{worst:.3g} of the largest output {largest:.3g}, most in channel {channel}. "
            "Fold in float32, raise the tolerance, or leave the norm where it is."
        )
