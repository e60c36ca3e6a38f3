"""The derivative of :mod:`.residual`, and its transpose: two linear operations.

The sum that was normalized is `total`, as it was kept, or is formed of `x` and `residual` again.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.operation import Operation
from ..kernels.primitive import apply
from .means import Reduction, masked
from .normalize_derivative import COTANGENT, TANGENT
from .residual_sum import summed
from .sums import sum_along

Array = jax.Array
Axes = tuple[int, ...]


def _total(
    total: Array | None,
    x: Array | None,
    residual: Array | None,
    gate: Array | None,
    where: Array | None,
    dtype: np.dtype,
) -> Array:
    if total is not None:
        return total.astype(dtype)
    assert x is not None
    assert residual is not None
    return summed(x, residual, gate, where, dtype)


def _tangent(
    *,
    x_tangent: Array | None = None,
    residual_tangent: Array | None = None,
    gate_tangent: Array | None = None,
    epsilon_tangent: Array | None = None,
    scale_tangent: Array | None = None,
    bias_tangent: Array | None = None,
    total: Array | None = None,
    x: Array | None = None,
    residual: Array | None = None,
    gate: Array | None = None,
    epsilon: Array,
    scale: Array | None = None,
    where: Array | None = None,
    out_dtype: np.dtype,
    residual_dtype: np.dtype,
    **static: Any,
) -> tuple[Array, Array]:
    dtype = epsilon.dtype
    sum_ = _total(total, x, residual, gate, where, dtype)
    t = None
    if x_tangent is not None:
        t = x_tangent.astype(dtype) if gate is None else gate * x_tangent.astype(dtype)
    if residual_tangent is not None:
        along = residual_tangent.astype(dtype)
        t = along if t is None else t + along
    if gate_tangent is not None:
        assert x is not None
        along = gate_tangent * masked(x, where).astype(dtype)
        t = along if t is None else t + along
    t = None if t is None else masked(t, where)
    (y_tangent,) = apply(
        TANGENT,
        static,
        x_tangent=t,
        epsilon_tangent=epsilon_tangent,
        scale_tangent=scale_tangent,
        bias_tangent=bias_tangent,
        x=sum_,
        epsilon=epsilon,
        scale=scale,
        where=where,
    )
    r_tangent = jnp.zeros_like(y_tangent) if t is None else jnp.broadcast_to(t, y_tangent.shape)
    return y_tangent.astype(out_dtype), r_tangent.astype(residual_dtype)


def _tangent_transpose(
    cotangents: tuple[Array | None, ...],
    wanted: Mapping[str, Any],
    *,
    out_dtype: np.dtype,
    residual_dtype: np.dtype,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    **operands: Array,
) -> dict[str, Array]:
    dy, dr = cotangents
    given = dy if dy is not None else dr
    assert given is not None
    outputs = tuple(
        (
            name,
            tuple(i - given.ndim for i, n in enumerate(aval.shape) if n == 1 != given.shape[i]),
            aval.dtype,
        )
        for name, aval in wanted.items()
        # From the sum that is handed on nothing reaches these.
        if dy is not None or name in _OF_SUM
    )
    static = Reduction(axes, centred, implementation)._asdict()
    static |= {"outputs": outputs, "dtypes": (out_dtype, residual_dtype)}
    results = apply(ADD_COTANGENT, static, dy=dy, dr=dr, **operands) if outputs else ()
    found = {name: result for (name, *_), result in zip(outputs, results, strict=True)}
    zeros = {
        name: jnp.zeros_like(given, aval.dtype, shape=aval.shape) for name, aval in wanted.items()
    }
    return zeros | found


_OF_SUM = ("x_tangent", "residual_tangent", "gate_tangent")
_HELD = ("total", "x", "residual", "gate", "epsilon", "scale", "where")

# (tangents; the sum, epsilon, scale) -> tangents of y and r
ADD_TANGENT = Operation(
    "add_normalize_tangent",
    (*_OF_SUM, "epsilon_tangent", "scale_tangent", "bias_tangent", *_HELD),
    _tangent,
    linear=(*_OF_SUM, "epsilon_tangent", "scale_tangent", "bias_tangent"),
    transpose=_tangent_transpose,
)


def _cotangent(
    *,
    dy: Array | None = None,
    dr: Array | None = None,
    total: Array | None = None,
    x: Array | None = None,
    residual: Array | None = None,
    gate: Array | None = None,
    epsilon: Array,
    scale: Array | None = None,
    where: Array | None = None,
    outputs: tuple[tuple[str, Axes, np.dtype], ...],
    dtypes: tuple[np.dtype, np.dtype],
    **static: Any,
) -> tuple[Array, ...]:
    dtype = epsilon.dtype
    found: dict[str, Array] = {}
    dt = None if dr is None else masked(dr, where).astype(dtype)
    if dy is not None:
        of_norm = tuple((name, shared) for name, shared, _ in outputs if name not in _OF_SUM)
        if any(name in _OF_SUM for name, *_ in outputs):
            of_norm = (("x_tangent", ()), *of_norm)
        results = apply(
            COTANGENT,
            {**static, "outputs": of_norm},
            dy=dy.astype(dtype),
            x=_total(total, x, residual, gate, where, dtype),
            epsilon=epsilon,
            scale=scale,
            where=where,
        )
        found = {name: result for (name, _), result in zip(of_norm, results, strict=True)}
        if "x_tangent" in found:
            along = found.pop("x_tangent")
            dt = along if dt is None else dt + along
    for name, shared, kind in outputs:
        if dt is None or name not in _OF_SUM:
            continue
        if name == "residual_tangent":
            found[name] = dt.astype(kind)
        elif name == "x_tangent":
            found[name] = (dt if gate is None else dt * gate).astype(kind)
        else:
            assert x is not None
            found[name] = sum_along(dt * masked(x, where).astype(dtype), shared)
    return tuple(found[name] for name, *_ in outputs)


def _cotangent_transpose(
    cotangents: tuple[Array | None, ...],
    wanted: Mapping[str, Any],
    *,
    outputs: tuple[tuple[str, Axes, np.dtype], ...],
    dtypes: tuple[np.dtype, np.dtype],
    axes: Axes,
    centred: bool,
    implementation: str | None,
    **operands: Array,
) -> dict[str, Array]:
    """The transpose of the transpose is the tangent map again."""
    given = {name: c for (name, *_), c in zip(outputs, cotangents, strict=True)}
    static = Reduction(axes, centred, implementation)._asdict()
    static |= {"out_dtype": dtypes[0], "residual_dtype": dtypes[1]}
    y_tangent, r_tangent = apply(ADD_TANGENT, static, **given, **operands)
    return {"dy": y_tangent, "dr": r_tangent}


# (dy, dr; the sum, epsilon, scale) -> the gradients of those operands that `outputs` lists
ADD_COTANGENT = Operation(
    "add_normalize_cotangent",
    ("dy", "dr", *_HELD),
    _cotangent,
    linear=("dy", "dr"),
    transpose=_cotangent_transpose,
)
