r"""Moments in pairs of numbers, and the pooling of two of them.

With the counts :math:`n_a, n_b`, the means :math:`m_a, m_b` and the sums of squared deviations
:math:`s_a, s_b` of two parts (Chan, Golub & LeVeque 1983), where a is the larger part,

.. math:: n = n_a + n_b, \qquad \delta = m_b - m_a, \qquad
    m = m_a + \frac{n_b}{n} \delta, \qquad
    s = s_a + s_b + \frac{n_a n_b}{n} \delta^2

Each of the three is kept as a pair (a number, what rounding left of it), since k additions to a
float32 would cost k roundings.

**The bound.** With the rounding unit :math:`u = 2^{-24}` and :math:`\sigma` the deviation of all
that was seen:

- The term :math:`(n_b / n) \delta` errs by 6 u of itself: 2 for the count and the quotient, 3 for
  the difference of two pairs, 1 for the product. What the mean is off, the next :math:`\delta` is
  off too, so that errors of the past shrink with their share, and at the end the mean is off by
  :math:`\frac{6u}{n} \sum_i n_i |\delta_i|` at most. Since :math:`n_a \ge n_b`, the sum of squares
  has at least :math:`\frac12 \sum_i n_i \delta_i^2`, so by Cauchy and Schwarz this is at most
  :math:`6 \sqrt 2\, u \sigma`: 8.5 units of the deviation, however many updates there are.
- The terms of s are not negative, so that its relative error is the largest one of a term: 5 u for
  the factor, 7 u for the square of a :math:`\delta`, and, for the mean's own error in it, at most
  :math:`2 \cdot 8.5\, \sqrt 2 u`; a batch's own variance has 4 u. That is 36 u.
- A pair rounds, too, to :math:`u^2` of the mean. These errors add up over the updates, at
  worst to :math:`k u^2 |m| / 2` after k of them (:math:`2 \cdot 10^{-15} k |m|`), at random to its
  square root's share.

So the mean is within :math:`16 u \sigma + k u^2 |m|`, which is :math:`10^{-6} \sigma` but for the
second term, and the variance within :math:`64 u v`, :math:`4 \cdot 10^{-6}` of itself.

**Compilers.** An addition whose rounding error is found afterwards must be one of numbers that no
compiler computes in another way: a product, contracted with it, would not be rounded. So its
leading digits, cut off by their bits, are added up, and what is left of it goes to the low half.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.arithmetic import high_half, two_sum
from ..kernels.explicit_sharding import alike
from .pooling import SplitMoments, nonzero

Array = jax.Array
Pair = tuple[Array, Array]


class Pairs(NamedTuple):
    """The moments of one part, each as a number and what rounding left of it.

    Args:
        count: The number of elements, or the sum of their weights.
        mean: Their mean.
        squares: The sum of their squared deviations from the mean.
    """

    count: Pair  # pyright: ignore[reportIncompatibleMethodOverride] (hides tuple.count)
    mean: Pair
    squares: Pair


def pairs_of(moments: SplitMoments, count: Pair | None = None) -> Pairs:
    """The moments of an array in pairs; its count, where that is no pair itself, as it is."""
    squares = moments.count * moments.var
    none = jnp.zeros_like(squares)
    # Rounded to float32, the mean would be off by half a unit in its last place: 3% of a deviation
    # where it is a million of them, which would be taken for a spread.
    mean = two_sum(moments.mean, moments.mean_low)
    return Pairs((moments.count, none) if count is None else count, mean, (squares, none))


def add(pair: Pair, term: Array, term_low: Array | None = None) -> Pair:
    """A pair plus a number, or another pair."""
    known = jnp.isfinite(term)  # of an infinity no digits can be cut off
    leading = jnp.where(known, high_half(term), term)
    rest = jnp.where(known, term - leading, jnp.zeros_like(term))
    total, error = two_sum(pair[0], leading)
    total, more = two_sum(total, rest)
    low = (pair[1] + error) + more
    low = low if term_low is None else low + term_low
    new = total + low
    finite = jnp.isfinite(total)  # what rounding left of an infinite sum is not a number
    low = jnp.where(finite, low - (new - total), jnp.zeros_like(low))
    return jnp.where(finite, new, total), low


def pool_pairs(old: Pairs, new: Pairs, max_count: Array | None = None) -> Pairs:
    """The moments of two parts together; where `new` has nothing, `old` as it is.

    With `max_count` the count grows no further: what `new` brings beyond, `old` loses in weight,
    so that an observation's weight decays by `1 - n / max_count` with each batch of n. The result
    is in the dtype of `old`, and split over devices as it is.
    """
    old, new = _alike(old, new)
    count = add(old.count, *new.count)
    kept, number, within, added = old.count[0], new.count[0], old.squares, new.squares
    if max_count is not None:
        most = jnp.broadcast_to(max_count.astype(kept.dtype), kept.shape)
        excess = jnp.maximum((count[0] - most) + count[1], jnp.zeros_like(most))
        forgotten = jnp.minimum(excess, kept)
        share = forgotten / nonzero(kept)
        high, low = within
        within = add((high, low - low * share), -(high * share))
        kept = kept - forgotten
        shrunk = jnp.minimum(most / nonzero(number), jnp.ones_like(most))
        number = jnp.minimum(number, most)
        added = (added[0] * shrunk, added[1] * shrunk)
        full = excess > 0
        count = jnp.where(full, most, count[0]), jnp.where(full, 0, count[1])
    larger = kept >= number
    base, other = _choose(larger, old.mean, new.mean), _choose(larger, new.mean, old.mean)
    delta = (other[0] - base[0]) + (other[1] - base[1])
    weight = jnp.minimum(kept, number) / nonzero(count[0])
    mean = add(base, weight * delta)
    between = (jnp.maximum(kept, number) * weight) * lax.square(delta)
    squares = add(add(within, *added), between)
    # The first batch as it is: what an empty stream holds is no mean.
    first = kept == 0
    mean, squares = _choose(first, new.mean, mean), _choose(first, added, squares)
    seen = new.count[0] > 0
    pairs = zip((count, mean, squares), old, strict=True)
    return Pairs(*(_choose(seen, after, before) for after, before in pairs))


def _choose(condition: Array, chosen: Pair, other: Pair) -> Pair:
    high, low = (jnp.where(condition, a, b) for a, b in zip(chosen, other, strict=True))
    return high, low


def _alike(old: Pairs, new: Pairs) -> tuple[Pairs, Pairs]:
    """Both in the dtype of the first, and split over devices alike."""
    dtype = old.mean[0].dtype
    if new.mean[0].dtype != dtype:
        new = Pairs(*(_cast(pair, dtype) for pair in new))
    structure = jax.tree.structure((old, new))
    return jax.tree.unflatten(structure, alike(*jax.tree.leaves((old, new))))


def _cast(pair: Pair, dtype: Any) -> Pair:
    """A pair in another dtype: what that leaves of the larger number goes to the smaller one."""
    high = pair[0].astype(dtype)
    return high, ((pair[0] - high.astype(pair[0].dtype)) + pair[1]).astype(dtype)
