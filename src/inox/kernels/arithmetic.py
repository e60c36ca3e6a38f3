r"""Arithmetic of the statistics of a slice that every platform's compiler leaves exact.

What is written here holds whether a compiler contracts :math:`a b + c` to one rounding or not, and
however it approximates a reciprocal square root: digits are cut off by their bits, and every
product of two such halves is exact. Shifts of bits are avoided, which XLA's compiler for GPUs does
not put into one kernel with sums: a layer norm takes one kernel without them, three with.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which statistics of `dtype` are computed: float32, or float64 for float64."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def scale_of_squares(count: int) -> float:
    """A power of two for `count` numbers up to 1e18 before they are squared and added up.

    The sum of n squares is largest where it is not yet divided by n. Scaled by a power of two near
    16 / sqrt(n), which is exact, it stays below 256 times the largest square.
    """
    return 2.0 ** -max(0, math.ceil(math.log2(max(1, count) / 256) / 2))


def _bits(dtype: np.dtype) -> np.dtype:
    return jnp.dtype(f"int{jnp.finfo(dtype).bits}")


def _cut(a: Array, digits: int) -> Array:
    """`a` without the last binary digits."""
    whole = _bits(a.dtype)
    mask = jnp.asarray(-(2**digits), whole)
    return lax.bitcast_convert_type(lax.bitcast_convert_type(a, whole) & mask, a.dtype)


def high_half(a: Array) -> Array:
    """The leading half of the digits of `a`; what is left of it has no more than that, either."""
    return _cut(a, (int(jnp.finfo(a.dtype).nmant) + 1) // 2)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and its rounding error, exactly (Knuth 1969).

    Of numbers that no compiler computes in another way: a product, contracted with the sum to one
    rounding, is not the number whose error is found.
    """
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def pinned(a: Array) -> Array:
    """`a` without its last two digits: a number that no compiler can compute in another way.

    A mean that is subtracted in two places must be the same in both. As the result of a product it
    would be rounded in one kernel and not in another, which contracts it with the subtraction.
    """
    return _cut(a, 2)


def levelled(x: Array, variance: Array, mean: Array) -> Array:
    r"""What a deviation is multiplied with, exactly 0 in a slice of equal numbers.

    Where a count is divided by its rounded reciprocal, or by an approximate division, a slice of n
    numbers c keeps a deviation of :math:`2^{-24}` of the few units in the last place by which the
    first mean is off: :math:`2^{-44} |c|` in float32 at most. Numbers of which one differs from
    the others in its last place have one of :math:`2^{-24} |c| / \sqrt n`, which is more than
    :math:`2^{-38} |c|` for rows of up to :math:`2^{26}` numbers. What is below that is none.
    """
    digits = int(jnp.finfo(mean.dtype).nmant) + 1
    bound = jnp.square(mean * jnp.asarray(2.0 ** -(digits * 3 // 2 + 2), mean.dtype))
    # A bound that underflows to 0 tells nothing; nor need it, of numbers below 1e-11.
    none = (variance <= bound) & (bound > 0) & (bound <= jnp.finfo(mean.dtype).max)
    return jnp.where(none, jnp.zeros_like(x), x)


def reciprocal_root_near_one(v: Array) -> Array:
    r"""The reciprocal square root of numbers around 1 (:math:`2^{\pm 60}`), rounded once.

    The platform's :math:`r` errs by a few units in the last place (2 on GPU and CPU; more on TPU).
    A Newton step corrects it, :math:`r + \frac{r}{2} (1 - v r^2)`, if its residual is exact: the
    product is :math:`v r = p + e` with the leading half :math:`p` of its digits and

    .. math:: e = ((v_1 r_1 - p) + (v_1 r_2 + v_2 r_1)) + v_2 r_2, \qquad
        1 - v r^2 = ((1 - p r_1) - p r_2) - e r

    where indices 1 and 2 are the halves of the digits. All products but the last are exact; the
    differences cancel to numbers of :math:`2^{-11}` (float32) before anything is rounded, so the
    residual has an error of :math:`2^{-35}`, and the result is right but for its own rounding:
    0.50 units in the last place measured, with and without contraction.
    """
    r = lax.rsqrt(v)
    v_high, r_high = high_half(v), high_half(r)
    v_low, r_low = v - v_high, r - r_high
    product = high_half(v * r)
    rest = (v_high * r_high - product) + (v_high * r_low + v_low * r_high) + v_low * r_low
    residual = ((jnp.ones_like(v) - product * r_high) - product * r_low) - rest * r
    return r + (r * jnp.asarray(0.5, v.dtype)) * residual


def power_near_reciprocal_root(v: Array) -> Array:
    """A power of two near the reciprocal square root of `v`; 1 where `v` isn't positive and finite.

    Numbers below the smallest normal one count as that one.
    """
    kind = jnp.finfo(v.dtype)
    regular = (v > 0) & (v <= kind.max)
    normal = jnp.maximum(v, jnp.asarray(kind.tiny, v.dtype))
    root = lax.rsqrt(jnp.where(regular, normal, jnp.ones_like(v)))
    return _power_below(root)


def power_near_reciprocal(v: Array) -> Array:
    """A power of two near the reciprocal of `v`; 1 where `v` isn't positive and finite."""
    kind = jnp.finfo(v.dtype)
    regular = (v > 0) & (v <= kind.max)
    normal = jnp.maximum(v, jnp.asarray(kind.tiny, v.dtype))
    power = _power_below(jnp.where(regular, normal, jnp.ones_like(v)))
    # 2**k has the exponent bits of bias + k: those of 2**-k are what is missing to twice the bias.
    whole = _bits(v.dtype)
    twice = jnp.asarray(2 * (kind.maxexp - 1) << kind.nmant, whole)
    inverse = jnp.maximum(
        twice - lax.bitcast_convert_type(power, whole), jnp.asarray(1 << kind.nmant, whole)
    )
    return lax.bitcast_convert_type(inverse, v.dtype)


def _power_below(a: Array) -> Array:
    """The largest power of two not above `a`, a normal positive number."""
    return _cut(a, int(jnp.finfo(a.dtype).nmant))
