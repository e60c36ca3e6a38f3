r"""Arrays of any magnitude brought near 1, so that no square leaves the range of numbers.

Squares of float32 numbers overflow beyond 1e19 and vanish below 1e-19. Multiplied by a power of
two before, which rounds nothing, they do neither; and as the power is a constant to derivatives,
every intermediate result of a gradient is near 1 as well, but for the last, :math:`s \bar u`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.arithmetic import accumulator, power_near_reciprocal
from ..kernels.kernel import Axes
from .guarded import times_power

Array = jax.Array


def near_one(w: Array, axes: Axes, at_least: Array | None = None) -> tuple[Array, Array]:
    """`w` in the dtype of statistics, its largest entry along `axes` near 1; and the power of two.

    Args:
        w: An array.
        axes: The axes that share a power.
        at_least: A magnitude that counts as an entry of each slice.

    Returns:
        `w` times the power, and the power, which is 1 where all is 0.
    """
    wide = w.astype(accumulator(w.dtype))
    largest = jnp.max(jnp.abs(lax.stop_gradient(wide)), axes, keepdims=True, initial=0.0)
    if at_least is not None:
        largest = jnp.maximum(largest, lax.stop_gradient(at_least))
    power = power_near_reciprocal(largest)
    return times_power(wide, power), power
