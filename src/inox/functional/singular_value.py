r"""The derivatives of the largest singular value, of every order.

With :math:`A q = \sigma p` and :math:`A^T p = \sigma q` for unit vectors p and q,

.. math:: \dot\sigma = p^T \dot A q

The vectors enter as constants, since :math:`\sigma` is stationary in them. In a second derivative
they are none. Differentiated, the two equations are

.. math:: \sigma \dot p = a + A \dot q, \quad a = \dot A q - \dot\sigma p, \qquad
    \sigma \dot q = b + A^T \dot p, \quad b = \dot A^T p - \dot\sigma q

with :math:`\dot p \perp p` and :math:`\dot q \perp q`. Put into one another,

.. math:: \left( \sigma^2 I - A^T A \right) \dot q = \sigma b + A^T a

a system that is positive definite across q, by its smallest eigenvalue :math:`\sigma_1^2 -
\sigma_2^2`; :math:`\sigma^2 q q^T` is added to make it so along q as well, where the right side is
0. Conjugate gradients solve it, with products of A and vectors alone. Where two singular values
are equal, there is no second derivative.

All of it is exact for vectors that have converged. For others the first derivative is off by the
angle between them and the true ones, as in every power iteration.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .conjugate_gradients import solved
from .power_iteration import inner, times

Array = jax.Array


@jax.custom_jvp
def singular_value(matrix: Array, p: Array, q: Array, sigma: Array) -> Array:
    """`sigma`, as the function of the matrix that it is where the vectors have converged."""
    return sigma


@singular_value.defjvp
def _singular_value_derivative(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    p, q = singular_vectors(*primals)
    return singular_value(*primals), inner(p, times(tangents[0], q))


@jax.custom_jvp
def singular_vectors(matrix: Array, p: Array, q: Array, sigma: Array) -> tuple[Array, Array]:
    """`p` and `q`, likewise as functions of the matrix."""
    return p, q


@singular_vectors.defjvp
def _singular_vectors_derivative(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> Any:
    matrix, change = primals[0], tangents[0]
    sigma = singular_value(*primals)
    p, q = singular_vectors(*primals)
    one = jnp.where(sigma == 0, jnp.ones_like(sigma), sigma)
    slope = inner(p, times(change, q))
    a = times(change, q) - slope * p
    b = times(change.T, p) - slope * q

    def system(x: Array) -> Array:
        across = sigma * sigma * (x + q * inner(q, x))
        return across - times(matrix.T, times(matrix, x))

    right = sigma * b + times(matrix.T, a)
    right = right - q * inner(q, right)
    of_q = solved(system, right)
    of_q = of_q - q * inner(q, of_q)
    of_p = (a + times(matrix, of_q)) / one
    return (p, q), (of_p, of_q)
