r"""The derivative of :mod:`.normalize`, and its transpose: two linear operations.

With the notation of that file, the tangent is :math:`\dot y = \gamma\, r P \dot x + \hat x
\dot\gamma + \dot\beta - \frac{1}{2} r^2 \hat x \gamma \dot\epsilon`. Its transpose in
:math:`\dot x` is :math:`r P (\gamma \bar y)`, as P is self-adjoint, and those in the others are
sums over what they are shared by.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.arithmetic import accumulator
from ..kernels.kernel import Axes, Outputs, Parallel, Split, summed_over_devices
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from ..kernels.result_types import all_known, reduced, same_as, spans
from .means import Reduction, masked, mean_along
from .slices_in_parts import cotangent_together
from .standardized import Standardized, epsilon_factor, projected, standardized
from .sums import sum_along

Array = jax.Array


def _project(t: Array, standard: Standardized, reduction: Reduction) -> Array:
    """The self-adjoint map P of the derivation, times r."""
    axes, number = reduction.axes, standard.count
    of_t = mean_along(t, axes, number) if reduction.centred else None
    return projected(t, standard, of_t, mean_along(t * standard.deviation, axes, number))


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
    reduction = Reduction(axes, centred, implementation)
    standard = standardized(x, epsilon, where, reduction)
    xhat, rstd = standard.xhat, standard.rstd
    y_tangent = jnp.zeros_like(xhat)
    if x_tangent is not None:
        t = masked(x_tangent.astype(xhat.dtype), where)
        y_tangent = y_tangent + _project(t, standard, reduction)
    if epsilon_tangent is not None:
        y_tangent = y_tangent + xhat * (epsilon_factor(rstd) * epsilon_tangent)
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
    results = apply(COTANGENT, static, dy=dy, **operands)
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
    results=lambda types, **_: all_known([same_as("x", types)]),
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
    outputs: Outputs,
) -> tuple[Array, ...]:
    reduction = Reduction(axes, centred, implementation)
    standard = standardized(x, epsilon, where, reduction)
    xhat, rstd = standard.xhat, standard.rstd
    dy = masked(dy.astype(xhat.dtype), where)
    dxhat = dy if scale is None else dy * scale
    results: list[Array] = []
    for name, shared in outputs:
        if name == "x_tangent":
            dx = _project(dxhat, standard, reduction)
            results.append(dx.astype(x.dtype))
        elif name == "epsilon_tangent":
            along = sum_along(dxhat * xhat, axes) * epsilon_factor(rstd)
            results.append(sum_along(along, shared))
        else:
            results.append(sum_along(dy * xhat if name == "scale_tangent" else dy, shared))
    return tuple(results)


def _cotangent_transpose(
    cotangents: tuple[Array | None, ...],
    wanted: Mapping[str, Any],
    *,
    outputs: Outputs,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    **operands: Array,
) -> dict[str, Array]:
    """The transpose of the transpose is the tangent map again."""
    given = {name: c for (name, _), c in zip(outputs, cotangents, strict=True)}
    reduction = Reduction(axes, centred, implementation)
    (y_tangent,) = apply(TANGENT, reduction._asdict(), **given, **operands)
    return {"dy": y_tangent}


def _cotangent_types(
    types: Mapping[str, Any], *, outputs: Outputs, axes: Axes, **_: Any
) -> tuple[Any, ...] | None:
    if not spans(types["dy"], types) or any(name == "epsilon_tangent" for name, _ in outputs):
        return None
    statistics = accumulator(types["x"].dtype)
    return all_known(
        same_as("x", types) if name == "x_tangent" else reduced("dy", types, shared, statistics)
        for name, shared in outputs
    )


def _cotangent_on_parts(
    operands: Mapping[str, Any], *, outputs: Outputs, **static: Any
) -> Parallel:
    """Gradients of a parameter are summed over the devices that share it."""

    def combine(results: tuple[Array, ...], split: Split) -> tuple[Array, ...]:
        return tuple(
            result if name == "x_tangent" else summed_over_devices(result, shared, split)
            for result, (name, shared) in zip(results, outputs, strict=True)
        )

    return Parallel(combine, cotangent_together(outputs=outputs, **static))


# (dy; x, epsilon, scale) -> the gradients of those operands that `outputs` lists
COTANGENT = Operation(
    "normalize_cotangent",
    ("dy", "x", "epsilon", "scale", "where"),
    _cotangent,
    linear=("dy",),
    transpose=_cotangent_transpose,
    results=_cotangent_types,
    parallel=_cotangent_on_parts,
)
