"""The sum of a residual and what is added to it."""

from typing import Any, NamedTuple

import jax
import numpy as np

from ..kernels.arithmetic import accumulator
from .means import Reduction, masked

Array = jax.Array


class Sum(NamedTuple):
    """How a sum is normalized, and what its results are.

    Args:
        reduction: Over what.
        out_dtype: The dtype of y.
        residual_dtype: The dtype of r.
        of_rounded: Whether r is normalized, and not the sum before its rounding.
    """

    reduction: Reduction
    out_dtype: np.dtype
    residual_dtype: np.dtype
    of_rounded: bool

    def static(self) -> dict[str, Any]:
        """The same as the settings of an operation."""
        fields = self._asdict()
        return fields.pop("reduction")._asdict() | fields


def wider(one: np.dtype, other: np.dtype) -> np.dtype:
    """The dtype in which arrays of two dtypes are added up."""
    return max(accumulator(one), accumulator(other), key=lambda dtype: dtype.itemsize)


def summed(
    x: Array, residual: Array, gate: Array | None, where: Array | None, dtype: np.dtype
) -> Array:
    """The residual plus the gated x, in `dtype`; 0 where masked."""
    x, residual = masked(x, where).astype(dtype), masked(residual, where).astype(dtype)
    return masked(residual + (x if gate is None else gate * x), where)
