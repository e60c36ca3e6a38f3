r"""The reciprocal square root, correctly rounded, and a quotient: derivatives that stay in range.

**The value** is the platform's own, corrected by a Newton step whose residual is exact
(:mod:`..kernels.arithmetic`): the exact value rounded once. It costs a few operations per slice,
not per element.

**The derivative** of :math:`r = v^{-1/2}` is :math:`\dot r = -\frac{1}{2} r^3 \dot v`. In float32
:math:`r^3` leaves the range of numbers as soon as the spread of the data is above 1e12 or below
1e-12, although the product with :math:`\dot v`, which scales as the square of the spread, is
harmless. Multiplied in the order :math:`r (r (r \dot v))`, each intermediate result keeps close
to a power of the spread between -2 and 2. The same goes for a quotient by the variance, whose
derivative as JAX has it holds the square of the variance.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels import arithmetic
from .guarded import times_power

Array = jax.Array


@jax.custom_jvp
def reciprocal_root(v: Array) -> Array:
    """The reciprocal square root of `v`, correctly rounded; infinity at 0, 0 at infinity."""
    bits = 400 if v.dtype == jnp.float64 else 60
    one, small, large = (jnp.asarray(2.0**k, v.dtype) for k in (0, -bits // 2, bits // 2))
    # Brought near 1 by a power of two with a root, so that no half of a product leaves the range.
    factor = jnp.where(v < small, large * large, jnp.where(v > large, small * small, one))
    root = jnp.where(v < small, large, jnp.where(v > large, small, one))
    scaled = v * factor
    # Where the platform's value is infinite or NaN there is nothing to correct.
    largest = jnp.asarray(jnp.finfo(v.dtype).max, v.dtype)
    regular = (scaled > jnp.zeros_like(v)) & (scaled <= largest)
    corrected = arithmetic.reciprocal_root_near_one(jnp.where(regular, scaled, one))
    return times_power(jnp.where(regular, corrected, lax.rsqrt(scaled)), root)


@jax.custom_jvp
def reciprocal_root_near_one(v: Array) -> Array:
    """The same for numbers that are near 1, as a variance times the square of its scale is."""
    return arithmetic.reciprocal_root_near_one(v)


def _tangent(r: Array, v_tangent: Array) -> Array:
    return jnp.asarray(-0.5, r.dtype) * (r * (r * (r * v_tangent)))


@reciprocal_root.defjvp
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    r = reciprocal_root(*primals)
    return r, _tangent(r, *tangents)


@reciprocal_root_near_one.defjvp
def _derivative_near_one(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    r = reciprocal_root_near_one(*primals)
    return r, _tangent(r, *tangents)


@jax.custom_jvp
def quotient(a: Array, b: Array) -> Array:
    """`a / b`, with the derivative (da - a / b db) / b, in which no square of `b` occurs."""
    return a / b


@quotient.defjvp
def _quotient_derivative(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (a, b), (a_tangent, b_tangent) = primals, tangents
    q = quotient(a, b)
    return q, quotient(a_tangent - q * b_tangent, b)
