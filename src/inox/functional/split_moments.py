r"""Mean and variance of a slice: exact where the mean is large, with their derivative.

**The formula.** The variance as :math:`\langle x^2 \rangle - \langle x \rangle^2` cancels: with a
mean of 1e4 spreads nothing is left of a float32. Here the mean is found in two steps, and the
second corrects the first,

.. math:: m = \langle x \rangle, \qquad \delta = \langle x - m \rangle, \qquad
    v = \langle (x - m - \delta)^2 \rangle = \langle (x - m)^2 \rangle - \delta^2

The exact mean is :math:`m + \delta`: a sum of n numbers rounds, so that :math:`m` is off by a few
units of its last place, but :math:`x - m` is exact wherever the spread is small against the mean,
which is where it matters, and the mean of those small numbers is accurate. Both halves are kept:
centring is :math:`(x - m) - \delta`.

The left form of :math:`v` is used for short slices, the right one for long ones: its two sums do
not wait for each other, and over columns that is 1.3 times faster. :math:`\delta` is a few units
in the last place of :math:`m`, so nothing cancels but in slices that are nearly constant; in
short ones that costs up to 5.3 ulp, in long ones nothing measurable.

Under a mask the right form is used for short slices, too: it takes one rounding an element less,
which counts where the terms are equal and their errors add up (masked zeros and ones), and a masked
layer norm is twice as fast. There :math:`m` is first replaced by the number nearest to
:math:`m + \delta`, so that :math:`|\delta|` is at most half a unit; numbers that are whole units
away from :math:`m` have :math:`\langle (x - m)^2 \rangle \ge |\delta|`, in units, and at least half
of it is left. (Without a mask that would be 1.4 times slower than the left form, which shares
:math:`x - m - \delta` with the output.)

**Constants and extremes.** Means are true divisions, hidden from the compiler, which would multiply
by the reciprocal of the count. Then a slice of n copies of c has deviation exactly 0: x - m is a
few units in the last place of c, k of them, n k is a number of few bits, and (n k) / n is exact.
Squares of numbers up to 1e18 would overflow a sum of a million: they are scaled by a power of two
before they are squared, ``mean_square`` of :mod:`.means`.

**The derivative.** :math:`\dot m = \langle \dot x \rangle`, :math:`\dot \delta = 0` (it is a
rounding error) and :math:`\dot v = 2 \langle (x - m - \delta) \dot x \rangle`: two sums,
``CENTRED_SUMS``, linear in :math:`\dot x`, whose transpose is elementwise.

The variance goes as the square of the spread, its cotangent as the inverse square: with a spread
of 1e18, or 1e-18, one of them is not a float32. So what is handed on is :math:`s^2 v`, with a
power of two :math:`s` near :math:`(v + \epsilon)^{-1/2}`, which is a constant to the derivative;
everything that goes with the variance is scaled before it is multiplied.

RMS norm has the same without the mean: :math:`m = \delta = 0`, :math:`v = \langle x^2 \rangle`.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.arithmetic import accumulator, power_near_reciprocal_root
from ..kernels.kernel import Axes, Parallel, Split, names_of, summed_over_devices
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from ..kernels.result_types import all_known, reduced, spans
from .guarded import pinned
from .means import Reduction, count, masked, mean_along, mean_square, size
from .pooling import SplitMoments
from .pooling_over_devices import pool_over_devices
from .sums import is_number, sum_along

Array = jax.Array


def centre(x: Array, mean: Array, mean_low: Array, where: Array | None) -> Array:
    """`x` minus the mean, in the dtype of the mean; 0 where masked."""
    return masked((x.astype(mean.dtype) - mean) - mean_low, where)


# From how many elements on the variance is computed from two independent sums.
LONG = 2**15


def _moments(
    *,
    x: Array,
    where: Array | None = None,
    axes: Axes,
    implementation: str | None,
    centred: bool,
) -> tuple[Array, ...]:
    x = masked(x.astype(accumulator(x.dtype)), where)
    number = count(x.shape, axes, where, x.dtype)
    if not centred:
        square = mean_square(x, axes, number)
        return jnp.zeros_like(square), jnp.zeros_like(square), square
    mean = pinned(mean_along(x, axes, number))
    deviation = masked(x - mean, where)
    mean_low = mean_along(deviation, axes, number)
    elements = size(x.shape, axes)
    if is_number(elements) and elements < LONG:
        if where is None:
            return mean, mean_low, mean_square(deviation - mean_low, axes, number)
        nearest = mean + mean_low
        mean, mean_low = nearest, (mean - nearest) + mean_low
        deviation = masked(x - mean, where)
    var = mean_square(deviation, axes, number) - lax.square(mean_low)
    return mean, mean_low, jnp.maximum(var, jnp.zeros_like(var))


def _moments_types(types: Mapping[str, Any], *, axes: Axes, **_: Any) -> tuple[Any, ...] | None:
    return all_known([reduced("x", types, axes, accumulator(types["x"].dtype))] * 3)


def _moments_on_parts(
    operands: Mapping[str, Any], *, axes: Axes, centred: bool, **_: Any
) -> Parallel:
    """Each device has the moments of its part of a slice: they are pooled."""
    x, where = operands["x"], operands.get("where")

    def combine(results: tuple[Array, ...], split: Split) -> tuple[Array, ...]:
        names = names_of(axes, split)
        if not names:
            return results
        number = count(x.shape, axes, where, accumulator(x.dtype))
        most = None if where is None else size(x.shape, axes)
        return pool_over_devices(results, number, most, names, centred=centred)

    return Parallel(combine)


MOMENTS = Operation(
    "moments",
    ("x", "where"),
    _moments,
    results=_moments_types,
    parallel=_moments_on_parts,
    always_by_parts=True,  # by itself XLA adds up one after the other: mean, its rest, variance
)


def _centred_sums(
    *,
    t: Array,
    x: Array,
    mean: Array,
    mean_low: Array,
    where: Array | None = None,
    axes: Axes,
    implementation: str | None,
    centred: bool,
) -> tuple[Array, Array]:
    t = masked(t.astype(mean.dtype), where)
    return sum_along(t, axes), sum_along(t * centre(x, mean, mean_low, where), axes)


def _centred_sums_transpose(
    cotangents: tuple[Array | None, ...],
    wanted: Mapping[str, Any],
    *,
    x: Array,
    mean: Array,
    mean_low: Array,
    where: Array | None = None,
    axes: Axes,
    implementation: str | None,
    centred: bool,
) -> dict[str, Array]:
    """Each t enters the sums with the weights 1 and x - mean."""
    of_sum, of_product = cotangents
    shape = jnp.broadcast_shapes(x.shape, mean.shape)
    terms = jnp.zeros(shape, mean.dtype) if of_sum is None else of_sum
    if of_product is not None:
        terms = terms + centre(x, mean, mean_low, where) * of_product
    return {"t": masked(jnp.broadcast_to(terms, shape), where)}


def _centred_sums_types(
    types: Mapping[str, Any], *, axes: Axes, **_: Any
) -> tuple[Any, ...] | None:
    if not spans(types["t"], types):
        return None
    return all_known([reduced("t", types, axes, types["mean"].dtype)] * 2)


def _centred_sums_on_parts(operands: Mapping[str, Any], *, axes: Axes, **_: Any) -> Parallel:
    return Parallel(lambda results, split: summed_over_devices(results, axes, split))


# (t; x, mean) -> (sum of t, sum of t (x - mean)), linear in t
CENTRED_SUMS = Operation(
    "centred_sums",
    ("t", "x", "mean", "mean_low", "where"),
    _centred_sums,
    linear=("t",),
    transpose=_centred_sums_transpose,
    results=_centred_sums_types,
    parallel=_centred_sums_on_parts,
)


class Upcast(NamedTuple):
    """An array of a half type, and its copy in the dtype of the statistics for the derivative.

    Compiled code never computes the copy: values come from the array. A derivative rule takes the
    tangent of the copy in place of the array's, so that the contributions to a gradient add up in
    its dtype and are rounded once.

    Args:
        x: The array.
        wide: The copy.
    """

    x: Array
    wide: Array


def upcasting(x: Array) -> Upcast:
    """`x` with the copy that carries its derivative."""
    return Upcast(x, x.astype(accumulator(x.dtype)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def split_moments(
    upcast: Upcast, where: Array | None, epsilon: Array | None, reduction: Reduction
) -> SplitMoments:
    """The moments of an array along axes; differentiable.

    `epsilon` is what will be added to the variance, for the choice of the scale alone. Without it
    the scale is at most 1.
    """
    x = upcast.x
    mean, mean_low, var = apply(MOMENTS, reduction._asdict(), x=x, where=where)
    number = jnp.broadcast_to(count(x.shape, reduction.axes, where, mean.dtype), mean.shape)
    square = jnp.maximum(var, jnp.ones_like(var)) if epsilon is None else var + epsilon
    scale = power_near_reciprocal_root(square)
    return SplitMoments(number, mean, mean_low, (var * scale) * scale, scale)


@split_moments.defjvp
def _split_moments_derivative(
    reduction: Reduction, primals: Any, tangents: Any
) -> tuple[SplitMoments, SplitMoments]:
    (upcast, where, epsilon), (tangent, _, _) = primals, tangents
    moments = split_moments(upcast, where, epsilon, reduction)
    # Scaled before the sums: with a spread of 1e18 the cotangent of the variance is below the
    # smallest float32, that of the scaled variance is not.
    scale = lax.stop_gradient(moments.scale)
    sums = apply(
        CENTRED_SUMS,
        reduction._asdict(),
        t=tangent.wide * scale,
        x=upcast.x,
        mean=moments.mean,
        mean_low=moments.mean_low,
        where=where,
    )
    number = jnp.maximum(moments.count, jnp.ones_like(moments.count))
    of_mean, of_product = (along / number for along in sums)
    of_mean = of_mean / scale if reduction.centred else jnp.zeros_like(of_mean)
    return moments, SplitMoments(
        count=jnp.zeros_like(moments.count),
        mean=of_mean,
        mean_low=jnp.zeros_like(moments.mean_low),
        scaled=2 * (of_product * scale),
        scale=jnp.zeros_like(scale),
    )
