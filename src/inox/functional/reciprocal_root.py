r"""The reciprocal square root, with a derivative that neither overflows nor underflows.

The derivative of :math:`r = v^{-1/2}` is :math:`\dot r = -\frac{1}{2} r^3 \dot v`. In float32
:math:`r^3` leaves the range of numbers as soon as the spread of the data is above 1e12 or below
1e-12, although the product with :math:`\dot v`, which scales as the square of the spread, is
harmless. Multiplied in the order :math:`r (r (r \dot v))`, each intermediate result keeps close
to a power of the spread between -2 and 2.
"""

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array


@jax.custom_jvp
def reciprocal_root(v: Array) -> Array:
    """The reciprocal square root of `v`."""
    return lax.rsqrt(v)


@reciprocal_root.defjvp
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (v,), (v_tangent,) = primals, tangents
    r = reciprocal_root(v)
    half = jnp.asarray(-0.5, r.dtype)
    return r, half * (r * (r * (r * v_tangent)))
