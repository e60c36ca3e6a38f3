"""What keeps XLA's CPU compiler from changing the rounding of an elementwise operation."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..kernel import Run

Array = jax.Array

# From how many slices on a division costs more than the pass over memory that it splits off.
MANY = 4096


def _divided(*, x: Array, number: Array | None = None, count: int | None) -> tuple[Array]:
    """A true division: XLA would multiply by the rounded reciprocal of one divisor for all.

    Two things depend on it. What is left of a slice of equal numbers after the first mean is a
    number of few bits, of which any sum is exact, so that the second mean is exactly that number.
    And a product could be contracted with the subtraction of the mean to one rounding, in one
    kernel and not in another: another mean would be subtracted than the one whose rounding error
    is corrected later.
    """
    if number is None:
        assert count is not None
        # The reciprocal of a power of two is exact, and XLA does not take the multiplication for
        # too expensive to be fused: 1.2 to 1.5 times faster over many short slices.
        size: Any = x.size  # a symbol, in some exports
        many = not isinstance(size, int) or size >= MANY
        if count & (count - 1) == 0 and many:
            return (x * jnp.asarray(1 / count, x.dtype),)
        divisor = jnp.full_like(x, count)
    else:
        divisor = jnp.maximum(number, jnp.ones_like(number)) * jnp.ones_like(x)
    # The second barrier: (a / b) / c must not become a / (b c), which may overflow.
    return (lax.optimization_barrier(x / lax.optimization_barrier(divisor)),)


def _times_power(*, x: Array, power: Array) -> tuple[Array]:
    """Divided by the reciprocal power, which is as exact, rather than multiplied.

    XLA moves a multiplication, and with it the whole step that led to x, into the loop over the
    elements that the result is multiplied with, but no division. In evaluation mode batch
    norm takes half the time.
    """
    return (x / (jnp.ones_like(power) / power),)


def _pinned(*, x: Array) -> tuple[Array]:
    """A mean is a quotient behind a barrier already, which nothing is contracted with."""
    return (x,)


def _levelled(*, x: Array, variance: Array, mean: Array) -> tuple[Array]:
    """By true divisions the deviation of equal numbers is 0 already."""
    return (jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, variance.shape, mean.shape)),)


GUARDS: Mapping[str, Run] = {
    "divided": _divided,
    "times_power": _times_power,
    "pinned": _pinned,
    "levelled": _levelled,
}
