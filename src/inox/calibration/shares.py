"""Shares of a whole: numbers of samples, divided by their sum before JAX could wrap or round them.

A number of samples may be above the 2,147,483,647 of JAX's integers and is above the 16,777,216 to
which float32 counts. Its share of all samples is no larger than 1, and exact but for one rounding.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..functional.pooling import nonzero

CURE = "Give one number for each state, counts=[1000, 500]."


def shares(counts: Any, states: int) -> list[Any]:
    """The share of each count in their sum, as Python floats or traced numbers."""
    if isinstance(counts, (Mapping, str, bytes)) or not hasattr(counts, "__iter__"):
        raise TypeError(
            f"counts must be a list of numbers; found {type(counts).__name__}, {counts!r}. {CURE}"
        )
    if hasattr(counts, "ndim") and counts.ndim == 0:
        raise TypeError(f"counts must be a list of numbers; found a scalar, {counts}. {CURE}")
    listed = list(counts)
    if not states or states != len(listed):
        raise ValueError(
            f"counts must have one number for each state; found {len(listed)} for {states} "
            "states, of which there must be at least one."
        )
    found = [_exact(count) for count in listed]
    known = [number for number in found if not isinstance(number, Tracer)]
    usable = all(isinstance(number, Fraction) and number >= 0 for number in known)
    if not usable or (len(known) == len(found) and not any(known)):
        raise ValueError(
            f"counts must be finite numbers from 0, and not all 0; found {listed}. They tell on "
            "how many samples each state is based."
        )
    if len(known) == len(found):
        total = sum(known)
        return [float(number / total) for number in known]
    floats = [
        jnp.asarray(number if isinstance(number, Tracer) else float(number), float)
        for number in found
    ]
    together = nonzero(sum(floats[1:], start=floats[0]))
    return [number / together for number in floats]


def _exact(count: Any) -> Any:
    """A count as a fraction; as a float if it isn't finite, and as it is if it is traced."""
    if shape := np.shape(count):
        raise ValueError(f"counts must be scalars; found shape {shape}. {CURE}")
    value: Any = count
    if isinstance(count, (jax.Array, np.ndarray, np.generic)):
        real = jnp.issubdtype(count.dtype, jnp.integer) or jnp.issubdtype(count.dtype, jnp.floating)
        value = None if not real else count if isinstance(count, Tracer) else count.item()
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction, Tracer)):
        raise TypeError(f"counts must be real numbers; found {count!r}. {CURE}")
    infinite = isinstance(value, float) and not math.isfinite(value)
    return value if infinite or isinstance(value, Tracer) else Fraction(value)
