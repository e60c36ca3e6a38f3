"""A symmetric linear system solved by products alone, differentiable as often as one likes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.arithmetic import power_near_reciprocal
from .pooling import nonzero
from .power_iteration import inner

Array = jax.Array


def solved(system: Callable[[Array], Array], right: Array) -> Array:
    """x with system(x) = right, for a symmetric linear map that is positive definite.

    Conjugate gradients, until the residual is within rounding of `right`, the map turns out not
    to be positive, or after twice as many steps as would do without rounding errors. They start
    from numbers that are no part of `right`, so that the solution is linear in it to JAX, too
    (`jax.scipy.sparse.linalg.cg` starts from what it makes of `right`, and can't be transposed).
    """
    accuracy = jnp.asarray(float(jnp.finfo(right.dtype).eps) ** 2, right.dtype)

    def solve(system: Callable[[Array], Array], right: Array) -> Array:
        # Squares of a small residual underflow, and the loop would end before its first step.
        power = power_near_reciprocal(jnp.max(jnp.abs(right), initial=0))
        right = right * power

        enough = accuracy * inner(right, right)

        def goes_on(carry: Any) -> Array:
            step, _, residual, _, positive = carry
            left = inner(residual, residual) > enough
            return (step < 2 * right.shape[0]) & left & positive

        def improved(carry: Any) -> Any:
            step, x, residual, direction, _ = carry
            image = system(direction)
            curvature, square = inner(direction, image), inner(residual, residual)
            positive = curvature > 0
            pace = jnp.where(positive, square / nonzero(curvature), jnp.zeros_like(square))
            rest = residual - pace * image
            turned = rest + (inner(rest, rest) / square) * direction
            return step + 1, x + pace * direction, rest, turned, positive

        start = (0, jnp.zeros_like(right), right, right, jnp.asarray(True))
        return lax.while_loop(goes_on, improved, start)[1] / power

    return lax.custom_linear_solve(system, right, solve, symmetric=True)
