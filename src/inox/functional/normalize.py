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
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..kernels.cpu.calls import cotangent_kernel, normalize_kernel
from ..kernels.operation import Operation
from .means import Number, Reduction, accumulator, count, masked, mean_along
from .reciprocal_root import quotient, reciprocal_root
from .split_moments import centre, split_moments, upcasting
from .sums import sum_along

Array = jax.Array
Axes = tuple[int, ...]


class _Standard(NamedTuple):
    deviation: Array  # x - m
    rstd: Array
    denominator: Array  # (v + epsilon) scale^2
    scale: Array  # of pooling.SplitMoments: a power of two near rstd
    count: Number  # pyright: ignore[reportIncompatibleMethodOverride] (hides tuple.count)


def _standardize(
    x: Array,
    epsilon: Array,
    where: Array | None,
    axes: Axes,
    centred: bool,
    implementation: str | None,
) -> _Standard:
    """The centred x and its reciprocal standard deviation."""
    number = count(x.shape, axes, where, accumulator(x.dtype))
    moments = split_moments(upcasting(x), where, epsilon, Reduction(axes, centred, implementation))
    deviation = centre(x, moments.mean, moments.mean_low, where)
    denominator = moments.denominator(epsilon)
    if where is not None:  # a slice of which nothing takes part, with epsilon 0
        denominator = jnp.where(number > 0, denominator, jnp.ones_like(denominator))
    rstd = reciprocal_root(denominator) * moments.scale
    return _Standard(deviation, rstd, denominator, moments.scale, number)


def _xhat(standard: _Standard, where: Array | None) -> Array:
    return masked(standard.deviation * standard.rstd, where)


def _project(
    t: Array, standard: _Standard, where: Array | None, axes: Axes, centred: bool
) -> Array:
    """The self-adjoint map P of the derivation above, times r."""
    deviation, rstd, denominator, scale, number = standard
    along = quotient(mean_along(t * deviation, axes, number) * scale, denominator) * scale
    if centred:
        t = t - mean_along(t, axes, number)
    return masked(rstd * (t - deviation * along), where)


def _epsilon_factor(rstd: Array) -> Array:
    return jnp.asarray(-0.5, rstd.dtype) * (rstd * rstd)


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
    y = _xhat(_standardize(x, epsilon, where, axes, centred, implementation), where)
    if scale is not None:
        y = y * scale
    if bias is not None:
        y = y + bias
    return (masked(y, where).astype(x.dtype),)


NORMALIZE = Operation(
    "normalize",
    ("x", "epsilon", "scale", "bias", "where"),
    _normalize,
    kernel=normalize_kernel,
)


def _tangent(
    *,
    x_tangent: Array | None = None,
    epsilon_tangent: Array | None = None,
    scale_tangent: Array | None = None,
    bias_tangent: Array | None = None,
    x: Array,
    epsilon: Array,
    scale: Array | None = None,
    where: Array | None = None,
    axes: Axes,
    centred: bool,
    implementation: str | None,
) -> tuple[Array]:
    standard = _standardize(x, epsilon, where, axes, centred, implementation)
    xhat, rstd = _xhat(standard, where), standard.rstd
    y_tangent = jnp.zeros_like(xhat)
    if x_tangent is not None:
        t = masked(x_tangent.astype(xhat.dtype), where)
        y_tangent = y_tangent + _project(t, standard, where, axes, centred)
    if epsilon_tangent is not None:
        y_tangent = y_tangent + xhat * (_epsilon_factor(rstd) * epsilon_tangent)
    if scale is not None:
        y_tangent = y_tangent * scale
    if scale_tangent is not None:
        y_tangent = y_tangent + xhat * scale_tangent
    if bias_tangent is not None:
        y_tangent = y_tangent + bias_tangent
    return (masked(y_tangent, where).astype(x.dtype),)


def _tangent_transpose(
    cotangents: tuple[Array | None, ...],
    wanted: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    **operands: Array,
) -> dict[str, Array]:
    (dy,) = cotangents
    assert dy is not None
    outputs = tuple(
        # the axes of a parameter along which it is shared: its gradient is summed over them
        (name, tuple(i - dy.ndim for i, n in enumerate(aval.shape) if n == 1 != dy.shape[i]))
        for name, aval in wanted.items()
    )
    reduction = Reduction(axes, centred, implementation)
    static = {**reduction._asdict(), "outputs": outputs}
    results = COTANGENT(static, dy=dy, **operands)
    return dict(zip(wanted, results, strict=True))


# (tangents; x, epsilon, scale) -> tangent of y
TANGENT = Operation(
    "normalize_tangent",
    (
        "x_tangent",
        "epsilon_tangent",
        "scale_tangent",
        "bias_tangent",
        "x",
        "epsilon",
        "scale",
        "where",
    ),
    _tangent,
    linear=("x_tangent", "epsilon_tangent", "scale_tangent", "bias_tangent"),
    transpose=_tangent_transpose,
)


def _cotangent(
    *,
    dy: Array,
    x: Array,
    epsilon: Array,
    scale: Array | None = None,
    where: Array | None = None,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: tuple[tuple[str, Axes], ...],
) -> tuple[Array, ...]:
    standard = _standardize(x, epsilon, where, axes, centred, implementation)
    xhat, rstd = _xhat(standard, where), standard.rstd
    dy = masked(dy.astype(xhat.dtype), where)
    dxhat = dy if scale is None else dy * scale
    results: list[Array] = []
    for name, shared in outputs:
        if name == "x_tangent":
            dx = _project(dxhat, standard, where, axes, centred)
            results.append(dx.astype(x.dtype))
        elif name == "epsilon_tangent":
            along = sum_along(dxhat * xhat, axes) * _epsilon_factor(rstd)
            results.append(sum_along(along, shared))
        else:
            results.append(sum_along(dy * xhat if name == "scale_tangent" else dy, shared))
    return tuple(results)


def _cotangent_transpose(
    cotangents: tuple[Array | None, ...],
    wanted: Mapping[str, Any],
    *,
    outputs: tuple[tuple[str, Axes], ...],
    axes: Axes,
    centred: bool,
    implementation: str | None,
    **operands: Array,
) -> dict[str, Array]:
    """The transpose of the transpose is the tangent map again."""
    given = {name: c for (name, _), c in zip(outputs, cotangents, strict=True)}
    reduction = Reduction(axes, centred, implementation)
    (y_tangent,) = TANGENT(reduction._asdict(), **given, **operands)
    return {"dy": y_tangent}


# (dy; x, epsilon, scale) -> the gradients of those operands that `outputs` lists
COTANGENT = Operation(
    "normalize_cotangent",
    ("dy", "x", "epsilon", "scale", "where"),
    _cotangent,
    linear=("dy",),
    transpose=_cotangent_transpose,
    kernel=cotangent_kernel,
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
    (y,) = NORMALIZE(reduction._asdict(), x=x, epsilon=epsilon, scale=scale, bias=bias, where=where)
    return y


def known_nonzero(tangent: Any) -> Any:
    """None for a tangent known to be zero."""
    return None if isinstance(tangent, jax.custom_derivatives.SymbolicZero) else tangent


@functools.partial(normalize.defjvp, symbolic_zeros=True)
def _derivative(reduction: Reduction, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, epsilon, scale, _, where = primals
    y = normalize(reduction, *primals)
    x_tangent, epsilon_tangent, scale_tangent, bias_tangent, _ = map(known_nonzero, tangents)
    (y_tangent,) = TANGENT(
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
