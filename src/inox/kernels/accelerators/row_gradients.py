r"""The gradients of a standardized slice in as few passes over memory as XLA can be led to.

With the notation of `functional/normalize.py`, of which this is the same formula: once the mean
:math:`m` is known, all else about a slice are sums over it,

.. math:: \delta = \langle x - m \rangle, \quad q = \langle (x - m)^2 \rangle, \quad
    a = \langle g \rangle, \quad b = \langle g (x - m) \rangle, \qquad g = \gamma \bar y

from which :math:`v = q - \delta^2` and :math:`\langle g (x - m - \delta) \rangle = b - \delta a`.
So there are three steps: the mean (x is read), the four sums (x and dy are read), and what is made
of them element by element, dx, with the sums over the slices for the gradients of the parameters
added up on the way (x and dy are read, dx is written): 6 arrays cross memory. Written without
steps, XLA for GPUs puts the steps of dx into one kernel and the parameters' gradients into others:
8 for a layer norm of 8192 rows of 768 in float32, 11 in bfloat16.

:math:`\delta` is a rounding error of the mean, so nothing cancels in :math:`q - \delta^2` but in
slices that are nearly constant.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..arithmetic import pinned, power_near_reciprocal_root, reciprocal_root_near_one
from ..kernel import Axes, Run
from .joint_sums import joint_sums, staged_sum

Array = jax.Array


def row_gradients(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: tuple[tuple[str, Axes], ...],
) -> Run | None:
    """The program of `normalize_cotangent`; none with a mask or for the gradient of epsilon."""
    x, dy = operands["x"], operands["dy"]
    wanted = dict(outputs)
    plain = "where" not in operands and "epsilon_tangent" not in wanted and operands["epsilon"].size == 1
    if not plain or x.shape != dy.shape or 0 in x.shape or not axes:
        return None
    if any(operand.shape[i] not in (1, n) for operand in operands.values() for i, n in enumerate(x.shape)):
        return None
    count = math.prod(x.shape[axis] for axis in axes)

    def run(
        *, dy: Array, x: Array, epsilon: Array, scale: Array | None = None
    ) -> tuple[Array, ...]:
        g, deviation, rstd, of_g, of_product = _step_by_step(
            dy, x, epsilon, scale, axes, centred, count
        )
        results: list[Array] = []
        for name, shared in outputs:
            if name == "x_tangent":
                dx = rstd * ((g - of_g) - deviation * of_product)
                results.append(dx.astype(x.dtype))
            else:
                wide = dy.astype(epsilon.dtype)
                terms = wide * (deviation * rstd) if name == "scale_tangent" else wide
                results.append(staged_sum(terms, shared))
        return tuple(results)

    return run


def _step_by_step(
    dy: Array,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    axes: Axes,
    centred: bool,
    count: int,
) -> tuple[Array, ...]:
    """g, x - m, r, the mean of g, and that of g (x - m) over v."""
    x, dy = x.astype(epsilon.dtype), dy.astype(epsilon.dtype)
    g = dy if scale is None else dy * scale
    # Squares are scaled by a power of two first, so that the sum of many large ones is a number.
    small = jnp.asarray(2.0 ** -max(0, math.ceil(math.log2(max(1, count / 256)) / 2)), x.dtype)
    number = jnp.asarray(count, x.dtype)
    if centred:
        mean = lax.optimization_barrier(pinned(jnp.sum(x, axes, keepdims=True) / number))
        deviation = x - mean
        terms = (deviation, lax.square(deviation * small), g, g * deviation)
        sums = joint_sums(terms, axes)
        mean_low, square, of_g, of_product = lax.optimization_barrier(tuple(sums))
        mean_low, of_g = mean_low / number, of_g / number
        variance = square / number / lax.square(small) - lax.square(mean_low)
        variance = jnp.maximum(variance, jnp.zeros_like(variance))
        deviation = deviation - mean_low
        of_product = of_product / number - mean_low * of_g
    else:
        deviation = x
        sums = joint_sums((lax.square(x * small), g * x), axes)
        square, of_product = lax.optimization_barrier(tuple(sums))
        variance = square / number / lax.square(small)
        of_g, of_product = jnp.zeros_like(variance), of_product / number
    power = power_near_reciprocal_root(variance + epsilon)
    denominator = (variance * power) * power + (epsilon * power) * power
    zero = denominator == jnp.zeros_like(denominator)
    denominator = jnp.where(zero, jnp.ones_like(denominator), denominator)
    root = reciprocal_root_near_one(denominator) * power + (denominator - denominator)
    rstd = jnp.where(zero, jnp.zeros_like(root), root)
    along = ((of_product * power) / denominator) * power
    return g, deviation, rstd, of_g, along
