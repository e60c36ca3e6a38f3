r"""Division and reciprocal roots in float32 on hardware whose own are approximate.

A TPU adds, subtracts and multiplies float32 with one rounding each. Its divisions and reciprocal
roots begin with an estimate of a few digits, and what follows the estimate differs from one
generation to the next. Here nothing is divided, and of an estimate only 7 bits are relied on.

**Exact products.** A float32 is split into halves of 12 bits (Veltkamp 1968), whose products have
24 bits: they are exact. What is computed of such products alone is the same whether a compiler
contracts a product and a sum to one rounding or not, as there is but one rounding either way. So
nothing here depends on contraction. The split itself, :math:`h = c - (c - a)` with
:math:`c = (2^{12} + 1) a`, gives 12 bits either way: with :math:`c - a` contracted to
:math:`2^{12} a`, :math:`h` is the multiple of an ulp of c that is nearest to a.

**A quotient** of a sum T by a count n. The product :math:`q = T \cdot \mathrm{fl}(1/n)` errs by
less than 2 ulp. The residual :math:`e = T - q n` has, q and n being split, four exact products; the
first nearly cancels T, which is exact, and the others are below :math:`2^{-11} T`, so e has an
error of :math:`2^{-35} T`, and :math:`q + e\,\mathrm{fl}(1/n)` is the quotient rounded once (up to
ties within :math:`2^{-34}`). A quotient that is a float32 is found exactly.

**The root.** Let :math:`r_0` be the first 12 bits of an estimate of :math:`w^{-1/2}` whose
relative error is below :math:`2^{-7}`, after one Newton step in plain arithmetic, which leaves
:math:`1.5 \cdot 2^{-14}`. Then :math:`q_0 = r_0^2` is exact, and so is, up to :math:`2^{-35}`,

.. math:: e = 1 - w q_0, \qquad |e| < 2^{-10}

with w and :math:`q_0` split. From :math:`w^{-1} = q_0 / (1 - e)`,

.. math:: w^{-1/2} = r_0 + r_0 \left(\tfrac12 e + \tfrac38 e^2 + \tfrac5{16} e^3 + \dots\right),
    \qquad w^{-1} = q_0 + q_0 (e + e^2 + e^3 + \dots)

The terms left out are below :math:`2^{-40}`, the correction is :math:`2^{-11}` of the result and
carries roundings of :math:`2^{-34}`: both numbers are right but for one rounding, 0.501 ulp. That
:math:`w^{-1}` comes without a division of its own is what the derivative is computed with.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array


def constant(value: float) -> Array:
    """A number as float32."""
    return jnp.asarray(value, jnp.float32)


def split(a: Array) -> tuple[Array, Array]:
    """Two numbers of 12 bits whose sum is `a`."""
    shifted = constant(2.0**12 + 1) * a
    high = shifted - (shifted - a)
    return high, a - high


def split_count(count: int) -> tuple[float, float]:
    """A number below 2**24 as a sum of two that have 12 bits."""
    unit = 2 ** max(0, count.bit_length() - 12)
    high = round(count / unit) * unit
    return float(high), float(count - high)


def divided(total: Array, count: int) -> Array:
    """`total / count`, rounded once; `count` is below 2**24."""
    if count & (count - 1) == 0:
        return total * constant(1 / count)
    reciprocal = constant(float(np.float32(1 / count)))
    quotient = total * reciprocal
    high, low = split(quotient)
    count_high, count_low = map(constant, split_count(count))
    residual = ((total - high * count_high) - high * count_low) - low * count_high
    residual = residual - low * count_low
    return quotient + residual * reciprocal


def divided_plainly(total: Array, count: int) -> Array:
    """`total / count` within an ulp, by a product with the reciprocal in two parts."""
    high = np.float32(1 / count)
    low = np.float32(1 / count - float(high))
    quotient = total * constant(float(high))
    return quotient if low == 0 else quotient + total * constant(float(low))


class Roots(NamedTuple):
    """The reciprocal of a number and its root.

    Args:
        root: The reciprocal of the square root.
        square: The reciprocal.
    """

    root: Array
    square: Array


def reciprocal_roots(v: Array, estimate: Callable[[Array], Array] = lax.rsqrt) -> Roots:
    """The reciprocal root and the reciprocal of `v`, each rounded once; NaN for infinity.

    For `v` of 0 both are 0: what slices of equal numbers with epsilon 0 are multiplied by.

    Args:
        v: Not negative.
        estimate: The reciprocal root with a relative error below 2**-7.
    """
    one, zero = jnp.ones_like(v), jnp.zeros_like(v)
    empty = v == zero
    # Brought near 1 by a power of two with a root, so that no product leaves the range.
    small, large = v < constant(2.0**-30), v > constant(2.0**30)

    def chosen(if_small: float, if_large: float) -> Array:
        return jnp.where(
            small, constant(if_small) * one, jnp.where(large, constant(if_large) * one, one)
        )

    w = jnp.where(empty, one, v * chosen(2.0**60, 2.0**-60))
    r = estimate(w)
    r = r * (constant(1.5) - constant(0.5) * (w * r * r))
    r, _ = split(r)
    q = r * r
    (w_high, w_low), (q_high, q_low) = split(w), split(q)
    e = ((one - w_high * q_high) - w_high * q_low) - w_low * q_high
    e = e - w_low * q_low
    series = e * (constant(0.5) + e * (constant(0.375) + e * constant(0.3125)))
    root = (r + r * series) * chosen(2.0**30, 2.0**-30)
    square = (q + q * (e + e * (e + e * e))) * chosen(2.0**60, 2.0**-60)
    return Roots(jnp.where(empty, zero, root), jnp.where(empty, zero, square))
