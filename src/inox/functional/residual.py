r"""A residual added, and the sum normalized: one operation with two results, and its derivatives.

.. math:: t = h + g x, \qquad r = R(t), \qquad y = \hat t \gamma + \beta

with the residual :math:`h`, a gate :math:`g` and the rounding :math:`R` to the dtype in which the
sum is handed on; :math:`\hat t` is that of :mod:`.normalize`, of the sum before that rounding, or
of :math:`r` where that is asked for.

**The derivative.** With :math:`N` the derivative of the norm at :math:`t`,

.. math:: \dot t = \dot h + g \dot x + x \dot g, \qquad \dot r = \dot t, \qquad
    \dot y = \gamma N \dot t + \hat t \dot\gamma + \dot\beta

as a rounding counts as the identity. Backwards, what reaches :math:`t` from both results is added
before it is rounded,

.. math:: \bar t = N(\gamma \bar y) + \bar r, \qquad \bar h = \bar t, \qquad \bar x = g \bar t,
    \qquad \bar g = \sum x \bar t

For the backward pass :math:`r` alone is kept where it is what was normalized, as it is in float32;
else x and the residual, from which the sum is formed again.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..kernels.jax_internals import type_like
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from ..kernels.result_types import all_known, spans
from .normalize import NORMALIZE, known_nonzero
from .residual_derivative import ADD_TANGENT
from .residual_sum import Sum, summed
from .rounded_scaling import rounded

Array = jax.Array


def _add_normalize(
    *,
    x: Array,
    residual: Array,
    gate: Array | None = None,
    epsilon: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    where: Array | None = None,
    out_dtype: np.dtype,
    residual_dtype: np.dtype,
    of_rounded: bool,
    **static: Any,
) -> tuple[Array, Array]:
    total = summed(x, residual, gate, where, epsilon.dtype)
    r = total.astype(residual_dtype)
    source = total
    if of_rounded and residual_dtype != total.dtype:
        # In its own type, if that is the result's: its kernel then rounds once.
        source = r if out_dtype == residual_dtype else rounded(total, residual_dtype)
    (y,) = apply(NORMALIZE, static, x=source, epsilon=epsilon, scale=scale, bias=bias, where=where)
    return y.astype(out_dtype), r


def _types(
    types: Mapping[str, Any], *, out_dtype: np.dtype, residual_dtype: np.dtype, **_: Any
) -> tuple[Any, ...] | None:
    x = types["x"]
    if not spans(x, types):
        return None
    return all_known([type_like(x, x.shape, dtype) for dtype in (out_dtype, residual_dtype)])


ADD_NORMALIZE = Operation(
    "add_normalize",
    ("x", "residual", "gate", "epsilon", "scale", "bias", "where"),
    _add_normalize,
    results=_types,
)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def add_normalize(
    how: Sum,
    x: Array,
    residual: Array,
    gate: Array | None,
    epsilon: Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
) -> tuple[Array, Array]:
    """Adds, normalizes, scales and shifts; all operands have the rank of `x`.

    Returns:
        The normalized sum and the sum.
    """
    operands = {"x": x, "residual": residual, "gate": gate, "epsilon": epsilon}
    operands |= {"scale": scale, "bias": bias, "where": where}
    y, r = apply(ADD_NORMALIZE, how.static(), **operands)
    return y, r


@functools.partial(add_normalize.defjvp, symbolic_zeros=True)
def _derivative(how: Sum, primals: Any, tangents: Any) -> tuple[Any, Any]:
    x, residual, gate, epsilon, scale, _, where = primals
    y, r = add_normalize(how, *primals)
    names = ("x", "residual", "gate", "epsilon", "scale", "bias")
    found = {
        f"{name}_tangent": known_nonzero(t) for name, t in zip(names, tangents[:6], strict=True)
    }
    held: dict[str, Any] = {"epsilon": epsilon, "scale": scale, "where": where}
    if how.of_rounded or how.residual_dtype == epsilon.dtype:
        held["total"] = r
        if found["x_tangent"] is not None:
            held["gate"] = gate
        if found["gate_tangent"] is not None:
            held["x"] = x
    else:
        held |= {"x": x, "residual": residual, "gate": gate}
    static = how.static()
    del static["of_rounded"]
    return (y, r), tuple(apply(ADD_TANGENT, static, **found, **held))
