"""The operations on slices as programs of XLA's own operations, for its compiler for GPUs.

Counted on what that compiler makes of them, in arrays of the size of x that cross memory
(`docs/platforms.md` has the figures): the mean first, its correction and the variance after, which
is the reference, is one kernel on GPUs where a slice is a row of up to :data:`ROW` elements, and
three or more passes everywhere else; :mod:`.pilot` takes one.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..arithmetic import scale_of_squares
from ..kernel import Axes, Kernel, Run
from ..pilot import Slices, affine, normalized, plain, size_of, split_mean
from .cotangent import SHORT, add_cotangent, cotangent
from .pilot import slices
from .row_gradients import ROW, zero_of_rows

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
        return split_mean(slices((x,), axes, centred=True))

    return run


def _normalize(
    operands: Mapping[str, Any], *, axes: Axes, centred: bool, implementation: str | None
) -> Run | None:
    x = operands["x"]
    row = _is_row(x, axes)
    by_reference = centred if row else size_of(x, axes) < SHORT
    if not plain(operands, axes) or by_reference:
        return None

    def run(
        *, x: Array, epsilon: Array, scale: Array | None = None, bias: Array | None = None
    ) -> tuple[Array, ...]:
        if row:
            y = _root_mean_square(x.astype(epsilon.dtype), epsilon, axes)
            return (affine(y, scale, bias).astype(x.dtype),)
        found = slices((x,), axes, centred=centred)
        return (normalized(found, x, epsilon, scale, bias),)

    return run


def _root_mean_square(x: Array, epsilon: Array, axes: Axes) -> Array:
    """RMS norm of rows, by one kernel."""
    x = x - zero_of_rows(jnp.max(jnp.abs(x), axes, keepdims=True))
    count = size_of(x, axes)
    small = jnp.asarray(scale_of_squares(count), x.dtype)
    total = jnp.sum(jnp.square(x * small), axes, keepdims=True)
    variance = total / jnp.asarray(count, x.dtype) / jnp.square(small)
    zero = jnp.zeros_like(variance)
    return x * Slices(zero, zero, variance).reciprocal_deviation(epsilon)[0]


PROGRAMS: Mapping[str, Kernel] = {
    "moments": _moments,
    "normalize": _normalize,
    "normalize_cotangent": cotangent,
    "add_normalize_cotangent": add_cotangent,
}
