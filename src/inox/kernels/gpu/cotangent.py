"""The gradients of a norm, and of a norm of a sum, in few passes over memory."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import lax

from ..kernel import Axes, Outputs, Run
from ..pilot import gradients, plain, size_of
from .joint_sums import total
from .pilot import SHORT, slices, summed
from .row_gradients import row_gradients

Array = jax.Array
# `(parts, dy, epsilon, scale) -> gradients` of a norm of a sum; that of x in the statistics' dtype.
OfSum = Callable[[tuple[Array, ...], Array, Array, Array | None], tuple[Array, ...]]

# What the gradient of a sum that was normalized is the gradient of.
ADDED = ("x_tangent", "residual_tangent")


def _of_sum(
    operands: Mapping[str, Any], *, axes: Axes, centred: bool, outputs: Outputs
) -> OfSum | None:
    r"""The gradients: with :math:`g = \gamma \bar y`, two steps over memory.

    One for the moments and the means of g and :math:`g (x - m)` (x and dy are read), one for what
    is made of them element by element, with the sums for the parameters on the way (x and dy are
    read, dx is written): 5 arrays cross memory. Without steps XLA for GPUs puts those of dx into
    one kernel and the parameters' gradients into others: 8 for a layer norm of 8192 rows of 768 in
    float32, 11 in bfloat16. Of rows alone it takes fewer (:mod:`.row_gradients`).
    """
    x = operands["x"]
    if not plain(operands, axes) or x.shape != operands["dy"].shape:
        return None
    if any(name == "epsilon_tangent" for name, _ in outputs):
        return None
    of_rows = row_gradients(x, axes, operands.get("scale"), outputs, centred=centred)
    if of_rows is None and size_of(x, axes) < SHORT:
        return None

    def run(
        parts: tuple[Array, ...], dy: Array, epsilon: Array, scale: Array | None
    ) -> tuple[Array, ...]:
        dtype = epsilon.dtype
        if of_rows is not None:
            return of_rows(x=summed(parts, dtype), dy=dy, epsilon=epsilon, scale=scale)
        found = slices(parts, axes, dy, scale, centred=centred, dtype=dtype)
        # What both steps have in common would be written by the first for the second.
        parts, dy = lax.optimization_barrier((parts, dy))
        return gradients(found, dy, summed(parts, dtype), epsilon, scale, outputs, total)

    return run


def cotangent(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: Outputs,
) -> Run | None:
    """The gradients of a norm."""
    gradients_of = _of_sum(operands, axes=axes, centred=centred, outputs=outputs)
    if gradients_of is None:
        return None

    def run(
        *, dy: Array, x: Array, epsilon: Array, scale: Array | None = None
    ) -> tuple[Array, ...]:
        results = gradients_of((x,), dy, epsilon, scale)
        return tuple(
            result.astype(x.dtype) if name == "x_tangent" else result
            for result, (name, _) in zip(results, outputs, strict=True)
        )

    return run


def add_cotangent(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: tuple[tuple[str, Axes, Any], ...],
    dtypes: tuple[Any, Any],
) -> Run | None:
    """The gradients of a norm of a sum, which is formed of x and the residual where it is needed.

    As an array that a norm is handed it would be written in float32, and dy, too: for a layer norm
    of 8192 rows of 768 in bfloat16 17.2 arrays cross memory, and 10.2 so. What has a gate or a
    mask, and what nothing reaches through y, is left to the formulas.
    """
    if "dy" not in operands or {"gate", "where"} & operands.keys():
        return None
    names = ("total",) if "total" in operands else ("residual", "x")
    dy, epsilon = operands["dy"], operands["epsilon"]
    if any(operands[name].shape != dy.shape for name in names):
        return None
    listed = tuple((name, shared) for name, shared, _ in outputs if name not in ADDED)
    if len(listed) < len(outputs):
        listed = (("x_tangent", ()), *listed)
    of_norm = {name: operands[name] for name in ("dy", "epsilon", "scale") if name in operands}
    of_norm["x"] = jax.ShapeDtypeStruct(dy.shape, epsilon.dtype)
    of_sum = _of_sum(of_norm, axes=axes, centred=centred, outputs=listed)
    if of_sum is None:
        return None

    def run(
        *,
        dy: Array,
        epsilon: Array,
        dr: Array | None = None,
        scale: Array | None = None,
        **arrays: Array,
    ) -> tuple[Array, ...]:
        results = of_sum(tuple(arrays[name] for name in names), dy, epsilon, scale)
        found = {name: result for (name, _), result in zip(listed, results, strict=True)}
        if dr is not None and "x_tangent" in found:
            found["x_tangent"] = found["x_tangent"] + dr.astype(epsilon.dtype)
        return tuple(
            found["x_tangent"].astype(dtype) if name in ADDED else found[name]
            for name, _, dtype in outputs
        )

    return run
