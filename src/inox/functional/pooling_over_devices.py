r"""Moments of parts pooled over devices, by a gather or by sums.

:func:`.pooling.pool` takes the moments of all parts side by side: one collective, which brings
each device as many of them as there are devices. The bytes of sums do not grow with their number.

**About a mean** it takes two sums, the second of what the first has left over. With the share
:math:`w_i = n_i / n` of a part,

.. math:: s = \sum_i w_i m_i, \qquad
    d = \sum_i w_i (m_i - s), \qquad
    q = \sum_i w_i \left( v_i + (m_i - s)^2 \right)

and the mean is :math:`s + d`, the variance :math:`q - d^2`. That is exact however large the mean
is, because :math:`s` is the mean but for its rounding: :math:`d` is about a unit in its last
place. For that the :math:`m_i` are added in halves of their digits: where they have one exponent,
which is where it matters, the sum of the upper halves of thousands of them is exact.

The squares need a power of two to be multiplied with, the same for all parts, lest they leave the
range of numbers. It comes from the first sum, too: the reciprocal of
:math:`\sum_i w_i (|m_i| + \sqrt{v_i})`, which is no less than the spread.

To the derivative :math:`s` is a constant, as the results don't depend on it. So the backward pass
goes through the second sum alone, whose transpose sends nothing.

**About 0** (RMS norm) nothing has to be known before the squares are added but that power of two.
Two sums in one collective take its place, of squares made larger and made smaller by a factor.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.arithmetic import power_near_reciprocal, power_near_reciprocal_root, two_sum
from ..kernels.mapped_axes import Names, add_up, axis_size
from .means import Number
from .pooling import SplitMoments, nonzero, pool

Array = jax.Array

# How many moments a device may be sent by the others in one collective, rather than sums of them
# in two. A gather brings 16 bytes a moment and device. At 10 microseconds a collective and 25 GB/s
# the second collective takes as long as the gather of 16,000.
GATHERED = 2**14


class _Counts(NamedTuple):
    """The counts of the parts in units in which their sum is at most 1.

    A unit is a power of two: multiplying by a number of few bits adds no digits.

    Args:
        part: That of the part here.
        whole: Their sum, where it is known; None where the devices have to add them up.
        total: From their sum to the number of elements.
    """

    part: Array
    whole: Array | None
    total: Callable[[Array], Array]


def devices_along(names: Names) -> int:
    """How many positions mapped axes have together."""
    return math.prod(map(axis_size, names))


def _counts(count: Array, most: int | None, names: Names) -> _Counts:
    devices = devices_along(names)
    unit = 2.0 ** -math.ceil(math.log2(devices * (most or 1)))
    one = jnp.ones_like(count)
    if most is None:
        return _Counts(one * unit, one * (devices * unit), lambda _: count * devices)
    return _Counts(count * unit, None, lambda whole: whole / unit)


def pool_by_sums(
    moments: SplitMoments,
    epsilon: Array | None,
    most: int | None,
    names: Names,
    *others: Array,
) -> tuple[SplitMoments, *tuple[Array, ...]]:
    """The moments of a part pooled over mapped axes, by two sums over them.

    Args:
        moments: Those of the part.
        epsilon: What will be added to the variance, for the choice of the scale; without it the
            scale is at most 1.
        most: How many elements a part has at most; None where all have as many, by no mask.
        names: The mapped axes.
        *others: What else is to be added up on the way, of the shape of the moments.
    """
    kind = jnp.finfo(moments.mean.dtype)
    units, whole, total = _counts(moments.count, most, names)
    upper = lax.reduce_precision(moments.mean, int(kind.nexp), int(kind.nmant) // 2)
    largest = jnp.abs(moments.mean) + jnp.sqrt(moments.scaled) / moments.scale
    terms = [units * upper, units * (moments.mean - upper), units * largest]
    terms = terms if whole is not None else [*terms, units]
    added = add_up(jnp.stack([*others, *lax.stop_gradient(terms)]), names)
    first = added[len(others) :]
    whole = first[-1] if whole is None else whole
    together = nonzero(whole)
    shift = (first[0] + first[1]) / together
    common = power_near_reciprocal(first[2] / together)

    share = units / together
    offset = (moments.mean - shift) + moments.mean_low
    ratio = common / moments.scale
    square = (moments.scaled * ratio) * ratio + lax.square(offset * common)
    terms = [jnp.where(units > 0, share * term, jnp.zeros_like(term)) for term in (offset, square)]
    rest, square = add_up(jnp.stack(terms), names)
    mean, mean_low = two_sum(shift, rest)
    mean_low = lax.stop_gradient(mean_low)
    square = square - lax.square(rest * common)
    square = jnp.maximum(square, jnp.zeros_like(square))
    pooled = _rescaled(SplitMoments(total(whole), mean, mean_low, square, common), epsilon)
    return pooled, *added[: len(others)]


def pool_squares(
    moments: SplitMoments,
    epsilon: Array | None,
    most: int | None,
    names: Names,
    *others: Array,
) -> tuple[SplitMoments, *tuple[Array, ...]]:
    """The mean square of a part pooled over mapped axes, by one sum over them.

    The arguments are those of :func:`pool_by_sums`, and what else is to be added up on the way.
    """
    dtype = moments.scaled.dtype
    quarter = int(jnp.finfo(dtype).maxexp) // 4
    factors = [jnp.asarray(2.0**power, dtype) for power in (-quarter, quarter)]
    most_ratio = jnp.asarray(2.0 ** (2 * quarter - 2), dtype)  # its square is within the range
    units, whole, total = _counts(moments.count, most, names)
    ratios = [jnp.minimum(factor / moments.scale, most_ratio) for factor in factors]
    terms = [units * (moments.scaled * lax.square(ratio)) for ratio in ratios]
    terms = terms if whole is not None else [*terms, units]
    *added, last = add_up(jnp.stack([*others, *terms]), names)
    sums = [*added[len(others) :], last]
    whole = lax.stop_gradient(sums[-1] if whole is None else whole)
    # The smaller numbers are the ones to take where they stand for a mean square above 1.
    is_large = lax.stop_gradient(sums[0] > lax.square(factors[0]))
    scale = jnp.where(is_large, *factors)
    scaled = jnp.where(is_large, sums[0], sums[1]) / nonzero(whole)
    zero = jnp.zeros_like(scaled)
    pooled = _rescaled(SplitMoments(total(whole), zero, zero, scaled, scale), epsilon)
    return pooled, *added[: len(others)]


def _rescaled(moments: SplitMoments, epsilon: Array | None) -> SplitMoments:
    """With the scale that the moments of one array have: near the reciprocal deviation."""
    var = moments.var
    square = jnp.maximum(var, jnp.ones_like(var)) if epsilon is None else var + epsilon
    scale = lax.stop_gradient(power_near_reciprocal_root(square))
    ratio = scale / moments.scale
    # Nothing is multiplied where there is nothing: the ratio may be infinite there.
    something = moments.scaled > 0
    ratio = jnp.where(something, ratio, jnp.zeros_like(ratio))
    return moments._replace(scaled=(moments.scaled * ratio) * ratio, scale=scale)


def gathered_in_lowering(arrays: Sequence[Array], names: Names) -> Array:
    """Arrays of one shape of all devices: which array, then which device, in front."""
    return jnp.moveaxis(lax.all_gather(jnp.stack(arrays), names), 1, 0)


def pool_over_devices(
    parts: tuple[Array, ...], number: Number, most: int | None, names: Names, *, centred: bool
) -> tuple[Array, ...]:
    """The mean in two halves and the variance of parts that devices hold.

    By one collective, or where the moments are many by two.

    Args:
        parts: Those of the part here.
        number: How many elements take part in it.
        most: How many there are at most; None where all parts have as many.
        names: The mesh axes over which the parts lie.
        centred: Whether there is a mean.
    """
    mean, mean_low, var = parts
    scale = power_near_reciprocal_root(jnp.maximum(var, jnp.ones_like(var)))
    count = jnp.broadcast_to(number, mean.shape).astype(mean.dtype)
    moments = SplitMoments(count, mean, mean_low, (var * scale) * scale, scale)
    if not centred:
        whole, *_ = pool_squares(moments, None, most, names)
    elif devices_along(names) * mean.size > GATHERED:
        whole, *_ = pool_by_sums(moments, None, most, names)
    else:
        sent = (mean, mean_low, var) if most is None else (mean, mean_low, var, count)
        mean, mean_low, var, *counts = gathered_in_lowering(sent, names)
        scale = power_near_reciprocal_root(jnp.maximum(var, jnp.ones_like(var)))
        counts = counts[0] if counts else jnp.broadcast_to(count, mean.shape)
        whole = pool(counts, mean, mean_low, (var * scale) * scale, scale)
    return whole.mean, whole.mean_low, whole.var
