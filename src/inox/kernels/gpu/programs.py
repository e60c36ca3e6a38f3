"""The operations on slices as programs of XLA's own operations, for its compiler for GPUs.

Counted on what that compiler makes of them, in arrays of the size of x that cross memory
(`docs/platforms.md` has the figures): the mean first, its correction and the variance after, which
is the reference, is one kernel on GPUs where a slice is a row of up to :data:`ROW` elements, and
three or more passes everywhere else; :mod:`.pilot` takes one.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..arithmetic import accumulator
from ..kernel import Axes, Kernel, Run
from ..pilot import normalized, plain, size_of, split_mean
from .cotangent import add_cotangent, cotangent
from .pilot import SHORT, slices
from .row_gradients import ROW, normalized_rows

Array = jax.Array


def _is_row(x: Any, axes: Axes) -> bool:
    """Whether a slice is contiguous and not too long for one kernel."""
    trailing = set(axes) == set(range(-len(axes), 0))
    return trailing and size_of(x, axes) <= ROW


def _moments(
    operands: Mapping[str, Any], *, axes: Axes, implementation: str | None, centred: bool
) -> Run | None:
    x = operands["x"]
    if not centred or not plain(operands, axes) or _is_row(x, axes) or size_of(x, axes) < SHORT:
        return None

    def run(*, x: Array) -> tuple[Array, ...]:
        return split_mean(slices((x,), axes, centred=True, dtype=accumulator(x.dtype)))

    return run


def _normalize(
    operands: Mapping[str, Any], *, axes: Axes, centred: bool, implementation: str | None
) -> Run | None:
    x = operands["x"]
    row = _is_row(x, axes)
    groups = row and len(axes) == 1 and x.ndim > 1 and x.shape[-2] == 1
    by_reference = (centred and not groups) if row else size_of(x, axes) < SHORT
    if not plain(operands, axes) or by_reference:
        return None

    def run(
        *, x: Array, epsilon: Array, scale: Array | None = None, bias: Array | None = None
    ) -> tuple[Array, ...]:
        if row:
            # Groups are (..., G, 1, K), with an axis more that XLA would tile.
            see = functools.partial(jnp.squeeze, axis=-2) if groups else lambda array: array
            gamma, beta = (None if array is None else see(array) for array in (scale, bias))
            y = normalized_rows(see(x), see(epsilon), gamma, beta, centred=centred)
            return (y.reshape(x.shape),)
        found = slices((x,), axes, centred=centred, dtype=epsilon.dtype)
        return (normalized(found, x, epsilon, scale, bias),)

    return run


PROGRAMS: Mapping[str, Kernel] = {
    "moments": _moments,
    "normalize": _normalize,
    "normalize_cotangent": cotangent,
    "add_normalize_cotangent": add_cotangent,
}
