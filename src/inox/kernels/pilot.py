r"""Mean and variance of a slice by one pass over x, with a check of what that lost.

A number :math:`p` near the mean, the mean of a few elements of the slice, is known at once, and

.. math:: \delta = \langle x - p \rangle, \qquad m = p + \delta, \qquad
    v = \langle (x - p)^2 \rangle - \delta^2

needs one pass. The difference cancels as :math:`1 + 2 \delta^2 / v`: nothing to speak of where
:math:`p` is within the spread of the data, all of it where the sample happens to be far away. That
is seen from the result, so the pass is made again about :math:`p + \delta` if any slice has
:math:`\delta^2 > v` (or is not finite): with 32 elements of a normal distribution a matter of 5.6
standard errors. Data in which that happens all the time (a sample of padding in each batch) takes
one pass more, as many as where the mean is found first. Equal numbers are among them: the second
pass is about the number nearest to their mean, which is themselves, so that their deviation is
exactly 0.

RMS norm has the same without a mean: :math:`p = \delta = 0`, and nothing to repeat.

What takes the sample and adds up the sums in the way that suits its compiler is a backend's own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .arithmetic import (
    accumulator,
    pinned,
    power_near_reciprocal_root,
    reciprocal_root_near_one,
    scale_of_squares,
)
from .kernel import Axes, Outputs

Array = jax.Array
# Arrays of one shape and dtype, and axes -> their sums, dimensions kept with size 1.
Sums = Callable[[Sequence[Array], Axes], list[Array]]

# How many elements of a slice its pilot is the mean of.
SAMPLE = 32


class Slices(NamedTuple):
    """What is known of slices; dimensions kept with size 1.

    Args:
        pilot: A number near the mean.
        offset: The mean minus the pilot.
        variance: The variance, or the mean square about 0.
        of_g: The mean of g, where it was asked for.
        of_product: The mean of g times the deviation from the mean.
    """

    pilot: Array
    offset: Array
    variance: Array
    of_g: Array | None = None
    of_product: Array | None = None

    def deviation(self, x: Array) -> Array:
        """`x` minus the mean."""
        return (x.astype(self.pilot.dtype) - self.pilot) - self.offset

    def reciprocal_deviation(self, epsilon: Array) -> tuple[Array, Array, Array]:
        """The reciprocal standard deviation; a power of two near it; the scaled denominator.

        As `functional/standardized.py`: 0 for equal numbers with epsilon 0, NaN for an overflow.
        """
        power = power_near_reciprocal_root(self.variance + epsilon)
        denominator = (self.variance * power) * power + (epsilon * power) * power
        zero = denominator == jnp.zeros_like(denominator)
        denominator = jnp.where(zero, jnp.ones_like(denominator), denominator)
        root = reciprocal_root_near_one(denominator) * power + (denominator - denominator)
        return jnp.where(zero, jnp.zeros_like(root), root), power, denominator


def plain(operands: Mapping[str, Any], axes: Axes) -> bool:
    """Whether there is no mask, one epsilon, and an x of the shape of all operands."""
    x = operands["x"]
    return (
        "where" not in operands
        and ("epsilon" not in operands or operands["epsilon"].size == 1)
        and 0 not in x.shape
        and bool(axes)
        and all(
            m in (1, n)
            for operand in operands.values()
            for m, n in zip(operand.shape, x.shape, strict=True)
        )
    )


def size_of(x: Any, axes: Axes) -> int:
    """How many elements a slice has."""
    return math.prod(x.shape[axis] for axis in axes)


def pilot_of(sample: Array, axes: Axes) -> Array:
    """The mean of a sample of each slice."""
    return pinned(jnp.mean(sample.astype(accumulator(sample.dtype)), axes, keepdims=True))


def spaced(length: int, wanted: int) -> tuple[int, int, int]:
    """Where so many evenly spaced ones of an axis start and stop, and their distance."""
    stride = length // wanted
    start = (length - 1) % stride // 2
    return start, start + (wanted - 1) * stride + 1, stride


def no_pilot(x: Array, axes: Axes) -> Array:
    """Zeros, about which the mean square is taken that RMS norm divides by."""
    kept = [1 if i - x.ndim in axes else n for i, n in enumerate(x.shape)]
    return jnp.zeros(kept, accumulator(x.dtype))


def is_far(found: Slices) -> Array:
    """Whether the pilot of any slice was no good, or squares about it overflow."""
    return jnp.any(~(lax.square(found.offset) <= found.variance))


def nearer(found: Slices) -> Array:
    """A pilot that is: the number nearest to the mean that was found."""
    return found.pilot + pinned(found.offset)


def about(
    pilot: Array,
    x: Array,
    axes: Axes,
    dy: Array | None,
    scale: Array | None,
    *,
    centred: bool,
    sums: Sums,
) -> Slices:
    """The moments of slices by one pass about a given number.

    With `dy`, also the means that the gradient needs, of g = dy scale.
    """
    count = math.prod(x.shape[axis] for axis in axes)
    number = jnp.asarray(count, pilot.dtype)
    small = jnp.asarray(scale_of_squares(count), pilot.dtype)
    deviation = x.astype(pilot.dtype) - pilot
    terms = [lax.square(deviation * small)]
    terms += [deviation] if centred else []
    if dy is not None:
        g = dy.astype(pilot.dtype)
        g = g if scale is None else g * scale
        terms += [g * deviation, g] if centred else [g * deviation]
    means = [total / number for total in sums(terms, axes)]
    square = means.pop(0) / lax.square(small)
    offset = means.pop(0) if centred else jnp.zeros_like(square)
    variance = jnp.maximum(square - lax.square(offset), jnp.zeros_like(square))
    if dy is None:
        return Slices(pilot, offset, variance)
    of_product = means.pop(0)
    of_g = means.pop(0) if centred else jnp.zeros_like(square)
    return Slices(pilot, offset, variance, of_g, of_product - offset * of_g)


def normalized(
    found: Slices, x: Array, epsilon: Array, scale: Array | None, bias: Array | None
) -> Array:
    """`x` standardized by its moments, scaled and shifted; in its own dtype."""
    y = found.deviation(x) * found.reciprocal_deviation(epsilon)[0]
    return affine(y, scale, bias).astype(x.dtype)


def affine(y: Array, scale: Array | None, bias: Array | None) -> Array:
    """`y` scaled and shifted."""
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


def gradients(
    found: Slices,
    dy: Array,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    outputs: Outputs,
    total: Callable[[Array, Axes], Array],
) -> tuple[Array, ...]:
    r"""The gradients of :func:`normalized`, with :math:`g = \gamma \bar y`.

    Args:
        found: The moments of x, with the means of g and of :math:`g (x - m)`.
        dy: The cotangent of y.
        x: The array.
        epsilon: What is added to the variance.
        scale: The scale, or None.
        outputs: The names of the gradients, and over which axes each is summed.
        total: `(terms, axes) -> sums`, dimensions kept with size 1.
    """
    assert found.of_g is not None
    assert found.of_product is not None
    wide = dy.astype(epsilon.dtype)
    g = wide if scale is None else wide * scale
    rstd, power, denominator = found.reciprocal_deviation(epsilon)
    deviation = found.deviation(x)
    along = ((found.of_product * power) / denominator) * power
    results: list[Array] = []
    for name, shared in outputs:
        if name == "x_tangent":
            dx = rstd * ((g - found.of_g) - deviation * along)
            results.append(dx.astype(x.dtype))
        else:
            terms = wide * (deviation * rstd) if name == "scale_tangent" else wide
            results.append(total(terms, shared))
    return tuple(results)


def split_mean(found: Slices) -> tuple[Array, Array, Array]:
    """The mean, what its rounding left, and the variance: the results of `moments`."""
    nearest = found.pilot + found.offset
    return nearest, (found.pilot - nearest) + found.offset, found.variance
