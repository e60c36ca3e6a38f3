"""The kernels of a residual added and the sum normalized: for rows, without a mask."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import accumulator
from ..kernel import Axes, Run
from ..varying import gradient_varies, joint_shape, varies
from .custom_call import call, nothing, supported
from .views import View, view

Array = jax.Array


def _view_of_rows(
    shape: tuple[int, ...], axes: Axes, varying: Sequence[Sequence[bool]]
) -> View | None:
    """A view of rows that are contiguous in memory."""
    found = view(shape, axes, varying)
    return found if found is not None and found.sizes("M") == (1,) else None


def _joint(operands: Mapping[str, Any], *names: str) -> tuple[int, ...]:
    """The shape that the operands of these names have together, of those that are there."""
    return joint_shape(*(operands[name] for name in names if name in operands))


def _without_repeats(array: Array, shape: Sequence[int]) -> Array:
    """Size 1 along each dimension that `shape` has once: all of it is the same there."""
    return array[tuple(slice(1) if n == 1 else slice(None) for n in shape)]


def _fits(operands: Mapping[str, Any], element: np.dtype, of_sum: np.dtype) -> bool:
    """Whether the types are those of a kernel: the residual's is that of x or the statistics'."""
    wide, epsilon = accumulator(element), operands["epsilon"]
    return (
        of_sum in (element, wide)
        and "where" not in operands
        and epsilon.size == 1
        and epsilon.dtype == wide
    )


def add_normalize(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    out_dtype: np.dtype,
    residual_dtype: np.dtype,
    of_rounded: bool,
) -> Run | None:
    """The kernel of `add_normalize`; arrays that `vmap` leaves without its axis are repeated."""
    x, residual = operands["x"], operands["residual"]
    if not supported(x) or out_dtype != x.dtype or residual_dtype != residual.dtype:
        return None
    if not _fits(operands, x.dtype, residual.dtype):
        return None
    parameters = [operands[name] for name in ("gate", "scale", "bias") if name in operands]
    of_sum, shape = _joint(operands, "x", "residual", "gate"), joint_shape(x, residual, *parameters)
    found = _view_of_rows(shape, axes, [varies(p.shape) for p in parameters])
    if found is None:
        return None
    seen: View = found

    def run(
        *,
        x: Array,
        residual: Array,
        epsilon: Array,
        gate: Array | None = None,
        scale: Array | None = None,
        bias: Array | None = None,
    ) -> tuple[Array, ...]:
        gate, scale, bias = (
            nothing(epsilon.dtype) if p is None else seen.parameter(p) for p in (gate, scale, bias)
        )
        count = math.prod(shape)
        y, r = call(
            "inox_add_normalize",
            [(count, x.dtype), (count, residual.dtype)],
            jnp.broadcast_to(x, shape),
            jnp.broadcast_to(residual, shape),
            gate,
            epsilon,
            scale,
            bias,
            shape=seen.sizes(),
            centred=np.bool_(centred),
            of_rounded=np.bool_(of_rounded),
        )
        # The sum doesn't depend on what only scale and bias are mapped over.
        return y.reshape(shape), _without_repeats(r.reshape(shape), of_sum)

    return run


def add_cotangent(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: tuple[tuple[str, Axes, np.dtype], ...],
    dtypes: tuple[np.dtype, np.dtype],
) -> Run | None:
    """The kernel of `add_normalize_cotangent`.

    None for a gate that is one number a row: it and its gradient would be written for each element,
    in float32, which takes twice as long as the formulas. How many rows share a gate decides
    nothing, since that differs with the batch, and a row is to have the same bits in each.
    """
    if "dy" not in operands:
        return None
    if "gate" in operands and all(operands["gate"].shape[axis] == 1 for axis in axes):
        return None
    element, of_sum = dtypes
    wanted = {name: shared for name, shared, _ in outputs}
    kinds = {name: kind for name, _, kind in outputs}
    arrays = ("dy", "dr", "total", "x", "residual")
    shape = _joint(operands, *arrays, "gate", "scale")
    # Under `vmap` over some operands alone a sum may not depend on what is mapped.
    formed = () if "total" in operands else ("x", "residual", "gate")
    spans = {
        "scale_tangent": _joint(operands, "dy", "total", *formed),
        "bias_tangent": operands["dy"].shape,
        "gate_tangent": _joint(operands, *arrays, *formed, "scale"),
    }
    if (
        not supported(operands["dy"])
        or operands["dy"].dtype != element
        or "epsilon_tangent" in wanted
        or not {"x_tangent", "residual_tangent"} & set(wanted)
        or kinds.get("x_tangent", element) != element
        or kinds.get("residual_tangent", of_sum) != of_sum
        or any(
            operands[name].dtype != kind
            for name, kind in zip(arrays[1:], (of_sum, of_sum, element, of_sum), strict=True)
            if name in operands
        )
        or not _fits(operands, element, of_sum)
    ):
        return None
    flags = [varies(operands[name].shape) for name in ("gate", "scale") if name in operands]
    flags += [gradient_varies(shape, shared) for name, shared in wanted.items() if name in spans]
    found = _view_of_rows(shape, axes, flags)
    if found is None:
        return None
    seen: View = found
    # Of one type and without a gate, the gradients of x and of the residual are one array.
    gated = "gate" in operands
    apart = gated or of_sum != element
    of_residual = "residual_tangent" in wanted or not apart
    of_x = "x_tangent" in wanted and apart

    def whole(array: Array | None, dtype: np.dtype) -> Array:
        return nothing(dtype) if array is None else jnp.broadcast_to(array, shape)

    def summed(terms: Array, name: str) -> Array:
        gradient = seen.gradient(terms, wanted[name])
        return _without_repeats(gradient, spans[name])

    def run(
        *,
        dy: Array,
        epsilon: Array,
        dr: Array | None = None,
        total: Array | None = None,
        x: Array | None = None,
        residual: Array | None = None,
        gate: Array | None = None,
        scale: Array | None = None,
    ) -> tuple[Array, ...]:
        parameter, count = math.prod(seen.sizes("PGC")), math.prod(shape)
        formed = total is None
        gate, scale = (
            nothing(epsilon.dtype) if p is None else seen.parameter(p) for p in (gate, scale)
        )
        dresidual, dx, dscale, dbias, dgate = call(
            "inox_add_cotangent",
            [
                (count if of_residual else 0, of_sum),
                (count if of_x else 0, element),
                (parameter if "scale_tangent" in wanted else 0, epsilon.dtype),
                (parameter if "bias_tangent" in wanted else 0, epsilon.dtype),
                (parameter if "gate_tangent" in wanted else 0, epsilon.dtype),
            ],
            jnp.broadcast_to(dy, shape),
            whole(dr, of_sum),
            whole(total, of_sum),
            whole(x if formed or "gate_tangent" in wanted else None, element),
            whole(residual if formed else None, of_sum),
            gate,
            epsilon,
            scale,
            shape=seen.sizes(),
            centred=np.bool_(centred),
        )
        results = {
            "residual_tangent": lambda: dresidual.reshape(shape),
            "x_tangent": lambda: (dx if of_x else dresidual).reshape(shape),
            "scale_tangent": lambda: summed(dscale, "scale_tangent"),
            "bias_tangent": lambda: summed(dbias, "bias_tangent"),
            "gate_tangent": lambda: summed(dgate, "gate_tangent"),
        }
        return tuple(results[name]() for name in wanted)

    return run
