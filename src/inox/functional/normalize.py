r"""Standardize over a choice of axes, scale and shift: one operation and its derivatives.

.. math:: \hat x = r (x - m), \qquad r = (v + \epsilon)^{-1/2}, \qquad y = \hat x \gamma + \beta

with the moments :math:`m, v` of each slice. Layer, group and instance norm are this for their
choice of axes; RMS norm is it without the mean (:math:`m = 0`, :math:`v = \langle x^2 \rangle`).

**The derivative.** With :math:`\dot v = 2 \langle (x - m) \dot x \rangle` and
:math:`\dot r = -\frac{1}{2} r^3 (\dot v + \dot\epsilon)`,

.. math:: \dot{\hat x} &= r (\dot x - \langle \dot x \rangle) + (x - m) \dot r \\
    &= r \left( \dot x - \langle \dot x \rangle - \hat x \langle \hat x \dot x \rangle \right)
    - \frac{1}{2} r^2 \hat x \dot\epsilon

The map :math:`P \dot x = \dot x - \langle \dot x \rangle - \hat x \langle \hat x \dot x \rangle`
is self-adjoint: :math:`\langle a, P b \rangle = \langle P a, b \rangle`, because all it subtracts
are projections. It is computed as :math:`\dot x - \langle \dot x \rangle - (x - m)
\langle (x - m) \dot x \rangle / (v + \epsilon)`: in short slices, where one element can carry
most of the variance, the error of :math:`r` would enter twice through :math:`\hat x`, and the
subtraction would not cancel (12.8 against 7.7 units in the last place for slices of 8).

So reverse mode uses it too: with :math:`g = \gamma \bar y`,

.. math:: \bar x = r P g, \qquad \bar\gamma = \sum \hat x \bar y, \qquad \bar\beta = \sum \bar y,
    \qquad \bar\epsilon = -\frac{1}{2} r^2 \sum \hat x g

No :math:`r^3` is ever formed, and nothing but :math:`x` and the parameters is kept for the
backward pass: the moments are computed again, and where forward and backward are compiled
together XLA finds them to be the same and computes them once. RMS norm drops
:math:`\langle \dot x \rangle`.
"""

import functools
from typing import Any

import jax

from ..kernels.kernel import Axes, Parallel
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from ..kernels.result_types import all_known, same_as
from .means import Reduction, masked
from .normalize_derivative import TANGENT
from .slices_in_parts import normalized_together
from .standardized import standardized

Array = jax.Array


def _normalize(
    *,
    x: Array,
    epsilon: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    where: Array | None = None,
    axes: Axes,
    centred: bool,
    implementation: str | None,
) -> tuple[Array]:
    reduction = Reduction(axes, centred, implementation)
    y = standardized(x, epsilon, where, reduction).xhat
    if scale is not None:
        y = y * scale
    if bias is not None:
        y = y + bias
    return (masked(y, where).astype(x.dtype),)


NORMALIZE = Operation(
    "normalize",
    ("x", "epsilon", "scale", "bias", "where"),
    _normalize,
    results=lambda types, **_: all_known([same_as("x", types)]),
    parallel=lambda _, **static: Parallel(together=normalized_together(**static)),
)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def normalize(
    reduction: Reduction,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
) -> Array:
    """Standardizes over axes, scales and shifts; all operands have the rank of `x`."""
    operands = {"x": x, "epsilon": epsilon, "scale": scale, "bias": bias, "where": where}
    (y,) = apply(NORMALIZE, reduction._asdict(), **operands)
    return y


def known_nonzero(tangent: Any) -> Any:
    """None for a tangent known to be zero."""
    return None if isinstance(tangent, jax.custom_derivatives.SymbolicZero) else tangent


@functools.partial(normalize.defjvp, symbolic_zeros=True)
def _derivative(reduction: Reduction, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, epsilon, scale, _, where = primals
    y = normalize(reduction, *primals)
    x_tangent, epsilon_tangent, scale_tangent, bias_tangent, _ = map(known_nonzero, tangents)
    (y_tangent,) = apply(
        TANGENT,
        reduction._asdict(),
        x_tangent=x_tangent,
        epsilon_tangent=epsilon_tangent,
        scale_tangent=scale_tangent,
        bias_tangent=bias_tangent,
        x=x,
        epsilon=epsilon,
        scale=scale,
        where=where,
    )
    return y, y_tangent
