r"""The gradients of rows by kernels that hold them in registers, statistics and all.

dx is one kernel: x and dy are read, dx is written. Where no parameter is asked for, that is all.
For parameters it is so for rows of a few numbers, groups of channels at a position and layers of
few channels: the terms of dscale, summed over some rows each, are one kernel more (x and dy are
read) and dbias is another (dy is read), 6 arrays in all. XLA for GPUs makes that of formulas where

- what is summed first is a dimension of x or a part of one: of several, merged or not, XLA writes
  the terms to memory (8 arrays in float32, 12 in bfloat16);
- no two kernels share a mean. Forward pass, dx and sums all begin with that of the same rows, and
  XLA would find it once, write it, and have no chain left that it knows (15.7 arrays with the
  forward pass in place of 8.1). So each has a view of its own of the rows (:mod:`.row_views`).

The numbers are those of :mod:`...functional.standardized`: the mean :math:`m`, what its rounding
left, :math:`c = \langle x - m \rangle`, and the mean square of :math:`d = (x - m) - c`.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..arithmetic import levelled, pinned, scale_of_squares
from ..kernel import Axes, Outputs, Run
from ..pilot import Slices, affine, gradients
from .joint_sums import total
from .row_views import Views, views

Array = jax.Array

# The longest row that XLA for GPUs keeps in one kernel; with dy half of it.
ROW, ROW_WITH_DY = 2**15, 2**14
# With parameters, rows of more take fewer bytes by two steps (:mod:`.cotangent`): 5 arrays, and 1.3
# of statistics and samples in bfloat16, 0.9 in float32, at 64 numbers a row.
SHORT_ROW = 64


def _leading(x: Any, scale: Any | None, outputs: Outputs) -> int | None:
    """How many leading dimensions are those of rows alone, over which parameters are shared.

    For a scale of channels all but the last, for one of groups (..., G, 1, K) all before the
    groups. None where parameters are shared otherwise: a scale for each sample.
    """
    wide = [i for i in range(x.ndim) if x.shape[i] > 1]
    shared = {tuple(i for i in wide if i - x.ndim in axes) for _, axes in outputs if axes}
    if len(shared) > 1:
        return None
    if shared:
        (summed,) = shared
    else:
        own = () if scale is None else [i for i in range(x.ndim - 1) if scale.shape[i] > 1]
        summed = tuple(i for i in wide if i < min(own, default=x.ndim - 1))
    leading = max(summed, default=-1) + 1
    whole = summed == tuple(i for i in wide if i < leading) and leading < x.ndim
    ones = scale is None or math.prod(scale.shape[:leading]) == 1
    return leading if summed and whole and ones else None


def row_gradients(
    x: Any,
    axes: Axes,
    scale: Any | None,
    outputs: Outputs,
    *,
    centred: bool,
) -> Run | None:
    """The gradients that `outputs` lists; None for other slices, and where no part is summed."""
    longest = ROW_WITH_DY if [name for name, _ in outputs] == ["x_tangent"] else SHORT_ROW
    if tuple(axes) != (-1,) or not 1 < x.shape[-1] <= longest:
        return None
    leading = _leading(x, scale, outputs)
    if leading is None:
        return None
    found = views(x.shape[:leading], x.shape[-1])
    sums = any(name == "scale_tangent" for name, _ in outputs)
    if found is None or (sums and found.of_sums is None):
        return None
    return functools.partial(
        _gradients, leading=leading, views=found, outputs=outputs, centred=centred
    )


def zero_of_rows(extreme: Array) -> Array:
    """0, as a number that each row has of its own, made of one that the row is searched for.

    XLA for GPUs takes a sum and what is made of it, however long, into the kernel of the rows that
    it is applied to, but only behind a first such step that is as simple as subtracting a mean: 2.0
    arrays of the size of x cross memory in an RMS norm in place of 3.0, 3.0 in place of 5.0 in its
    gradient. So such a number times 0 is subtracted, another one in each kernel, that they share
    none. (It is NaN where the number is infinite, as the result is.)
    """
    return extreme * jnp.zeros_like(extreme)


def moments_of_rows(x: Array, zero: Array | None) -> Slices:
    """Those of rows, about their mean or 0, by sums which with a map after them are one kernel."""
    number = jnp.asarray(x.shape[-1], x.dtype)
    small = jnp.asarray(scale_of_squares(x.shape[-1]), x.dtype)
    if zero is not None:
        square = jnp.sum(lax.square((x - zero) * small), -1, keepdims=True)
        return Slices(zero, jnp.zeros_like(zero), square / number / lax.square(small))
    mean = pinned(jnp.sum(x, -1, keepdims=True) / number)
    apart = x - mean
    offset = jnp.sum(apart, -1, keepdims=True) / number
    square = jnp.sum(lax.square((apart - offset) * small), -1, keepdims=True)
    return Slices(mean, offset, square / number / lax.square(small))


def normalized_rows(
    x: Array, epsilon: Array, scale: Array | None, bias: Array | None, *, centred: bool
) -> Array:
    """`x` normalized by rows, scaled and shifted; in its own dtype."""
    wide = x.astype(epsilon.dtype)
    zero = None if centred else zero_of_rows(jnp.max(jnp.abs(wide), -1, keepdims=True))
    found = moments_of_rows(wide, zero)
    y = found.deviation(wide) * _factor(found, epsilon, centred)
    return affine(y, scale, bias).astype(x.dtype)


def _factor(found: Slices, epsilon: Array, centred: bool) -> Array:
    """What the deviation is multiplied with: 0 for equal numbers."""
    rstd = found.reciprocal_deviation(epsilon)[0]
    return levelled(rstd, found.variance, found.pilot) if centred else rstd


def _with_products(found: Slices, g: Array, x: Array, centred: bool) -> Slices:
    """The same with the means of g and of g times the deviation.

    Of equal numbers there is nothing along the deviation, and a variance of exactly 0.
    """
    number = jnp.asarray(x.shape[-1], x.dtype)
    along = jnp.sum(g * found.deviation(x), -1, keepdims=True) / number
    if not centred:
        return found._replace(of_g=jnp.zeros_like(along), of_product=along)
    of_g = jnp.sum(g, -1, keepdims=True) / number
    variance, along = (
        levelled(value, found.variance, found.pilot) for value in (found.variance, along)
    )
    return found._replace(variance=variance, of_g=of_g, of_product=along)


def _gradients(
    *,
    dy: Array,
    x: Array,
    epsilon: Array,
    scale: Array | None = None,
    leading: int,
    views: Views,
    outputs: Outputs,
    centred: bool,
) -> tuple[Array, ...]:
    """The gradients that `outputs` lists: of x, and of scale and bias, summed over axes."""
    epsilon = epsilon.reshape(())

    def seen(array: Array, dimensions: tuple[int, ...]) -> Array:
        one = math.prod(array.shape[:leading]) == 1
        front = (1,) * len(dimensions) if one else dimensions
        kept = (
            n for n, wide in zip(array.shape[leading:], x.shape[leading:], strict=True) if wide > 1
        )
        return array.reshape(*front, *kept)

    def of_x() -> Array:
        x_seen, dy_seen = seen(x, views.of_dx), seen(dy, views.of_dx)
        gamma = None if scale is None else seen(scale, views.of_dx)
        wide, g = x_seen.astype(epsilon.dtype), dy_seen.astype(epsilon.dtype)
        zero = None if centred else zero_of_rows(jnp.min(jnp.abs(wide), -1, keepdims=True))
        found = _with_products(
            moments_of_rows(wide, zero), g if gamma is None else g * gamma, wide, centred
        )
        wanted = (("x_tangent", ()),)
        return gradients(found, dy_seen, x_seen, epsilon, gamma, wanted, total)[0].reshape(x.shape)

    def of_scale() -> Array:
        assert views.of_sums is not None
        wide, g = (seen(array, views.of_sums).astype(epsilon.dtype) for array in (x, dy))
        zero = None if centred else zero_of_rows(jnp.max(wide, -1, keepdims=True))
        found = moments_of_rows(wide, zero)
        xhat = found.deviation(wide) * _factor(found, epsilon, centred)
        parts = lax.optimization_barrier(jnp.sum(g * xhat, views.summed))
        rest = tuple(range(len(views.of_sums) - 1))
        return jnp.sum(parts, rest).reshape((1,) * leading + x.shape[leading:])

    results: list[Array] = []
    for name, shared in outputs:
        if name == "x_tangent":
            results.append(of_x())
        elif name == "scale_tangent":
            results.append(of_scale())
        else:
            results.append(total(dy.astype(epsilon.dtype), shared))
    return tuple(results)
