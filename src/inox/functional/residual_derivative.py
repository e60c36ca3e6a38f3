"""The derivative of :mod:`.residual`, and its transpose: two linear operations.

The sum that was normalized is `total`, as it was kept, or is formed of `x` and `residual` again.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.kernel import Axes, Parallel, Run, Split, names_of, summed_over_devices
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from .means import Reduction, masked
from .normalize_derivative import COTANGENT, TANGENT
from .residual_sum import summed
from .slices_in_parts import cotangent_together
from .sums import sum_along

Array = jax.Array
# Of each gradient its name, the axes it is summed over, and its dtype.
Outputs = tuple[tuple[str, Axes, np.dtype], ...]


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


def _with(
    of_norm: Callable[[tuple[tuple[str, Axes], ...]], Run],
    added: Callable[[Array, Axes], Array],
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
    outputs: Outputs,
    dtypes: tuple[np.dtype, np.dtype],
) -> tuple[Array, ...]:
    """The gradients, by those of a norm that are listed, and by a way to add numbers up."""
    dtype = epsilon.dtype
    found: dict[str, Array] = {}
    dt = None if dr is None else masked(dr, where).astype(dtype)
    if dy is not None:
        listed = tuple((name, shared) for name, shared, _ in outputs if name not in _OF_SUM)
        if any(name in _OF_SUM for name, *_ in outputs):
            listed = (("x_tangent", ()), *listed)
        sum_ = _total(total, x, residual, gate, where, dtype)
        operands = {"dy": dy.astype(dtype), "x": sum_, "epsilon": epsilon}
        operands |= {} if scale is None else {"scale": scale}
        operands |= {} if where is None else {"where": where}
        results = of_norm(listed)(**operands)
        found = {name: result for (name, _), result in zip(listed, results, strict=True)}
        if "x_tangent" in found:
            along = found.pop("x_tangent")
            dt = along if dt is None else dt + along
    for name, shared, kind in outputs:
        if dt is None or name not in _OF_SUM:
            continue
        if name == "residual_tangent":
            found[name] = dt.astype(kind)
        elif name == "x_tangent":
            # Masked again: the gate may be infinite or NaN.
            found[name] = (dt if gate is None else masked(dt * gate, where)).astype(kind)
        else:
            assert x is not None
            found[name] = added(dt * masked(x, where).astype(dtype), shared)
    return tuple(found[name] for name, *_ in outputs)


def _cotangent(
    *, axes: Axes, centred: bool, implementation: str | None, **others: Any
) -> tuple[Array, ...]:
    static = Reduction(axes, centred, implementation)._asdict()

    def of_norm(outputs: tuple[tuple[str, Axes], ...]) -> Run:
        return functools.partial(apply, COTANGENT, {**static, "outputs": outputs})

    return _with(of_norm, sum_along, **others)


def _on_parts(
    operands: Mapping[str, Any],
    *,
    outputs: Outputs,
    dtypes: tuple[np.dtype, np.dtype],
    axes: Axes,
    **static: Any,
) -> Parallel:
    """Gradients of what is shared are summed over the devices that share it."""

    def combine(results: tuple[Array, ...], split: Split) -> tuple[Array, ...]:
        return tuple(
            result
            if name in ("x_tangent", "residual_tangent")
            else summed_over_devices(result, shared, split)
            for result, (name, shared, _) in zip(results, outputs, strict=True)
        )

    def together(split: Split) -> Run | None:
        if not names_of(axes, split):
            return None

        def of_norm(listed: tuple[tuple[str, Axes], ...]) -> Run:
            run = cotangent_together(axes=axes, outputs=listed, **static)(split)
            assert run is not None
            return run

        def added(terms: Array, shared: Axes) -> Array:
            return summed_over_devices(sum_along(terms, shared), shared, split)

        return functools.partial(_with, of_norm, added, outputs=outputs, dtypes=dtypes)

    return Parallel(combine, together)


def _cotangent_transpose(
    cotangents: tuple[Array | None, ...],
    wanted: Mapping[str, Any],
    *,
    outputs: Outputs,
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
    parallel=_on_parts,
)
