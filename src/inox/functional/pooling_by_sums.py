r"""Moments of parts pooled by sums over devices, whose bytes do not grow with their number.

:func:`.pooling.pool` takes the moments of all parts side by side: one collective, which brings
each device as many of them as there are devices. Here they are added up.

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
from collections.abc import Callable, Hashable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.jax_internals import add_up
from .pooling import SplitMoments, range_scale

Array = jax.Array
Names = tuple[Hashable, ...]


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


def _counts(count: Array, most: int | None, names: Names) -> _Counts:
    devices = math.prod(lax.axis_size(name) for name in names)  # type: ignore[arg-type]
    unit = 2.0 ** -math.ceil(math.log2(devices * (most or 1)))
    one = jnp.ones_like(count)
    if most is None:
        return _Counts(one * unit, one * (devices * unit), lambda _: count * devices)
    return _Counts(count * unit, None, lambda whole: whole / unit)


def _nonzero(number: Array) -> Array:
    return jnp.where(number > 0, number, jnp.ones_like(number))


def pool_by_sums(
    moments: SplitMoments, epsilon: Array | None, most: int | None, names: Names
) -> SplitMoments:
    """The moments of a part pooled over mapped axes, by two sums over them.

    Args:
        moments: Those of the part.
        epsilon: What will be added to the variance, for the choice of the scale; without it the
            scale is at most 1.
        most: How many elements a part has at most; None where all have as many, by no mask.
        names: The mapped axes.
    """
    kind = jnp.finfo(moments.mean.dtype)
    units, whole, total = _counts(moments.count, most, names)
    upper = lax.reduce_precision(moments.mean, int(kind.nexp), int(kind.nmant) // 2)
    largest = jnp.abs(moments.mean) + jnp.sqrt(moments.scaled) / moments.scale
    terms = [units * upper, units * (moments.mean - upper), units * largest]
    terms = terms if whole is not None else [*terms, units]
    first = lax.stop_gradient(add_up(jnp.stack(terms), names))
    whole = first[-1] if whole is None else whole
    together = _nonzero(whole)
    shift = (first[0] + first[1]) / together
    common = range_scale(first[2] / together, root=True)

    share = units / together
    offset = (moments.mean - shift) + moments.mean_low
    ratio = common / moments.scale
    square = (moments.scaled * ratio) * ratio + lax.square(offset * common)
    terms = [jnp.where(units > 0, share * term, jnp.zeros_like(term)) for term in (offset, square)]
    rest, square = add_up(jnp.stack(terms), names)
    mean = shift + rest
    added = mean - shift
    mean_low = lax.stop_gradient((shift - (mean - added)) + (rest - added))  # exact (Knuth 1969)
    square = square - lax.square(rest * common)
    square = jnp.maximum(square, jnp.zeros_like(square))
    return _rescaled(SplitMoments(total(whole), mean, mean_low, square, common), epsilon)


def pool_squares(
    moments: SplitMoments, epsilon: Array | None, most: int | None, names: Names
) -> SplitMoments:
    """The mean square of a part pooled over mapped axes, by one sum over them.

    The arguments are those of :func:`pool_by_sums`.
    """
    dtype = moments.scaled.dtype
    quarter = int(jnp.finfo(dtype).maxexp) // 4
    factors = [jnp.asarray(2.0**power, dtype) for power in (-quarter, quarter)]
    most_ratio = jnp.asarray(2.0 ** (2 * quarter - 2), dtype)  # its square is within the range
    units, whole, total = _counts(moments.count, most, names)
    ratios = [jnp.minimum(factor / moments.scale, most_ratio) for factor in factors]
    terms = [units * (moments.scaled * lax.square(ratio)) for ratio in ratios]
    terms = terms if whole is not None else [*terms, units]
    sums = add_up(jnp.stack(terms), names)
    whole = lax.stop_gradient(sums[-1] if whole is None else whole)
    # The smaller numbers are the ones to take where they stand for a mean square above 1.
    is_large = lax.stop_gradient(sums[0] > lax.square(factors[0]))
    scale = jnp.where(is_large, *factors)
    scaled = jnp.where(is_large, sums[0], sums[1]) / _nonzero(whole)
    zero = jnp.zeros_like(scaled)
    return _rescaled(SplitMoments(total(whole), zero, zero, scaled, scale), epsilon)


def _rescaled(moments: SplitMoments, epsilon: Array | None) -> SplitMoments:
    """With the scale that the moments of one array have: near the reciprocal deviation."""
    var = moments.var
    square = jnp.maximum(var, jnp.ones_like(var)) if epsilon is None else var + epsilon
    scale = lax.stop_gradient(range_scale(square, root=False))
    ratio = scale / moments.scale
    # Nothing is multiplied where there is nothing: the ratio may be infinite there.
    something = moments.scaled > 0
    ratio = jnp.where(something, ratio, jnp.zeros_like(ratio))
    return moments._replace(scaled=(moments.scaled * ratio) * ratio, scale=scale)
