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
from jax import lax

from ..arithmetic import scale_of_squares
from ..kernel import Axes, Kernel, Run
from ..pilot import Slices, affine, gradients, normalized, plain, size_of, split_mean
from .joint_sums import total
from .pilot import slices
from .row_gradients import ROW, row_gradients, zero_of_rows

Array = jax.Array

# The shortest slice that is worth a pilot.
SHORT = 64


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
        return split_mean(slices(x, axes, centred=True))

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
        found = slices(x, axes, centred=centred)
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


def _cotangent(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: tuple[tuple[str, Axes], ...],
) -> Run | None:
    r"""The gradients: with :math:`g = \gamma \bar y`, two steps over memory.

    One for the moments and the means of g and :math:`g (x - m)` (x and dy are read), one for what
    is made of them element by element, with the sums for the parameters on the way (x and dy are
    read, dx is written): 5 arrays cross memory. Without steps XLA for GPUs puts those of dx into
    one kernel and the parameters' gradients into others: 8 for a layer norm of 8192 rows of 768 in
    float32, 11 in bfloat16.
    """
    x, dy = operands["x"], operands["dy"]
    if not plain(operands, axes) or x.shape != dy.shape:
        return None
    if any(name == "epsilon_tangent" for name, _ in outputs):
        return None
    of_rows = row_gradients(x, axes, operands.get("scale"), outputs, centred=centred)
    if of_rows is not None or size_of(x, axes) < SHORT:
        return of_rows

    def run(
        *, dy: Array, x: Array, epsilon: Array, scale: Array | None = None
    ) -> tuple[Array, ...]:
        found = slices(x, axes, dy, scale, centred=centred)
        # What both steps have in common would be written by the first for the second.
        x, dy = lax.optimization_barrier((x, dy))
        return gradients(found, dy, x, epsilon, scale, outputs, total)

    return run


PROGRAMS: Mapping[str, Kernel] = {
    "moments": _moments,
    "normalize": _normalize,
    "normalize_cotangent": _cotangent,
}
