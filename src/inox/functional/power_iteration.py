r"""The largest singular value of a matrix by power iteration, and how far it is from the true one.

With a matrix A (inputs by outputs) and unit vectors p and q, a step is

.. math:: p \leftarrow \frac{A q}{\lVert A q \rVert}, \qquad \sigma = \lVert A^T p \rVert, \qquad
    q \leftarrow \frac{A^T p}{\sigma}

:math:`\sigma = p^T A q` is never above the largest singular value :math:`\sigma_1`, and does not
fall from step to step. Beyond that two numbers tell how far it can be off. After a step,
:math:`p^T A = \sigma q^T` and :math:`r = A q - \sigma p` is orthogonal to p.

**Distance.** :math:`(p; q) / \sqrt 2` is a unit vector which the symmetric matrix
:math:`(0, A; A^T, 0)` maps to :math:`\sigma` times itself up to :math:`(r; 0) / \sqrt 2`. So (Weyl)
it has an eigenvalue within :math:`\lVert r \rVert / \sqrt 2` of :math:`\sigma`; its eigenvalues are
plus and minus the singular values, and 0. This says that :math:`\sigma` is near one of them, not
that it is the largest: a vector that the leading one has no part in never finds it.

**Ceiling.** :math:`A = (\sigma p + r) q^T + N` with :math:`N = A (I - q q^T)`, whose rows are
orthogonal to q and whose columns are orthogonal to p. For x of length 1, with a part
:math:`\alpha` along q and :math:`\eta` across, :math:`A x` has the parts :math:`\sigma \alpha`
along p, and at most :math:`\lVert r \rVert \alpha + \nu \eta` across, :math:`\nu = \lVert N
\rVert_F \geq \lVert N \rVert`. So whatever the vectors are,

.. math:: \sigma_1 \leq \left\lVert \begin{pmatrix} \sigma & 0 \\ \lVert r \rVert & \nu
    \end{pmatrix} \right\rVert, \qquad
    \nu^2 = \lVert A \rVert_F^2 - \sigma^2 - \lVert r \rVert^2

which is near :math:`\sigma` where few singular values are large, and near the Frobenius norm where
all are equal.

**A start that is no start.** Vectors for which :math:`A q` is 0, or NaN from a step that failed,
would stay what they are. So where :math:`A q` is less than half as long as the longest column of
A, which is a lower bound of :math:`\sigma_1`, that column takes its place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .sums import sum_along

Array = jax.Array


class Iterated(NamedTuple):
    """Two unit vectors, the singular value that they find, and how far it can be off.

    Args:
        inputs: The vector p.
        outputs: The vector q.
        sigma: The singular value.
        distance: One of the singular values is as near as this.
        ceiling: None is larger.
    """

    inputs: Array
    outputs: Array
    sigma: Array
    distance: Array
    ceiling: Array


def times(matrix: Array, vector: Array) -> Array:
    """A q, in full precision on every platform."""
    return jnp.matmul(matrix, vector, precision=lax.Precision.HIGHEST)


def inner(a: Array, b: Array) -> Array:
    """The inner product of two vectors, likewise."""
    return jnp.vdot(a, b, precision=lax.Precision.HIGHEST)


def length(vector: Array) -> Array:
    """The length of a vector, with entries near 1 or small beside others that are."""
    return jnp.sqrt(jnp.squeeze(sum_along(lax.square(vector), (-1,)), -1))


def iterate(matrix: Array, inputs: Array, outputs: Array, steps: int) -> Iterated:
    """`steps` steps from unit vectors; with none the value that `inputs` finds.

    The largest entry of the matrix must be near 1, unless all are 0.
    """
    squares = jnp.squeeze(sum_along(lax.square(matrix), (-2,)), -2)
    longest = jnp.argmax(squares)
    column, enough = matrix[:, longest], jnp.sqrt(squares[longest]) / 2
    along = times(matrix, outputs) if steps else inputs
    reached = length(along) if steps else length(times(matrix.T, inputs))
    p = _unit(jnp.where(reached >= enough, along, column), inputs)  # NaN is not enough
    q, sigma = _half_step(matrix, p, outputs)

    def step(_: int, vectors: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        p = _unit(times(matrix, vectors[1]), vectors[0])
        return p, *_half_step(matrix, p, vectors[1])

    if steps > 1:
        p, q, sigma = lax.fori_loop(1, steps, step, (p, q, sigma))
    return Iterated(p, q, sigma, *_certificate(matrix, p, q, sigma, squares))


def _half_step(matrix: Array, p: Array, q: Array) -> tuple[Array, Array]:
    along = times(matrix.T, p)
    return _unit(along, q), length(along)


def unit(vector: Array) -> Array:
    """A vector over its length; 0 for 0."""
    size = length(vector)
    return vector / jnp.where(size == jnp.zeros_like(size), jnp.ones_like(size), size)


def _unit(vector: Array, otherwise: Array) -> Array:
    """A vector over its length; without one, another, its numbers that are none replaced by 0."""
    usable = jnp.where(jnp.isfinite(otherwise), otherwise, jnp.zeros_like(otherwise))
    return jnp.where(length(vector) == jnp.zeros((), vector.dtype), usable, unit(vector))


def _certificate(
    matrix: Array, p: Array, q: Array, sigma: Array, squares: Array
) -> tuple[Array, Array]:
    """Distance and ceiling, each with an allowance for the rounding of the sums it is made of.

    A product of matrix and vector sums n terms: its rounding errors add up as a random walk, to
    the root of n units of the last place; the allowance is that of both vectors and of a few.
    """
    rounding = jnp.asarray(
        (4 + sum(matrix.shape) ** 0.5) * float(jnp.finfo(matrix.dtype).eps), matrix.dtype
    )
    total = jnp.squeeze(sum_along(squares, (-1,)), -1)
    rest = length(times(matrix, q) - sigma * p)
    distance = rest * jnp.asarray(0.5**0.5, matrix.dtype) + rounding * sigma
    rest = rest + rounding * sigma
    across = jnp.maximum(total - lax.square(sigma) - lax.square(rest), jnp.zeros_like(total))
    across = across + rounding * total  # the square of nu
    # The larger eigenvalue of B B^T for the two by two matrix B, its discriminant as a sum.
    difference = lax.square(sigma) + lax.square(rest) - across
    root = jnp.sqrt(lax.square(difference) + 4 * across * lax.square(rest))
    largest = (lax.square(sigma) + lax.square(rest) + across + root) / 2
    return distance, jnp.sqrt(largest) * (1 + rounding)
