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

For the backward pass :math:`r` alone is kept where it is what was normalized, as it is in float32
(and, for the gradient of a gate, x); else x and the residual, from which the sum is formed again.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..kernels.arithmetic import accumulator
from ..kernels.jax_internals import type_like
from ..kernels.kernel import Axes, Parallel, Run, Split
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from ..kernels.result_types import all_known, spans
from .means import Reduction
from .normalize import NORMALIZE, known_nonzero
from .residual_derivative import ADD_TANGENT
from .residual_sum import Sum, summed
from .rounded_scaling import rounded
from .slices_in_parts import normalized_together

Array = jax.Array


def _with(
    norm: Run,
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
) -> tuple[Array, Array]:
    """The operation by a way to normalize an array."""
    total = summed(x, residual, gate, where, epsilon.dtype)
    r = total.astype(residual_dtype)
    source = total
    if of_rounded and residual_dtype != total.dtype:
        # In its own type, if that is the result's: its kernel then rounds once.
        own = out_dtype == residual_dtype and accumulator(residual_dtype) == total.dtype
        source = r if own else rounded(total, residual_dtype)
    operands = {"x": source, "epsilon": epsilon, "scale": scale, "bias": bias, "where": where}
    (y,) = norm(**{name: array for name, array in operands.items() if array is not None})
    return y.astype(out_dtype), r


def _add_normalize(
    *, axes: Axes, centred: bool, implementation: str | None, **others: Any
) -> tuple[Array, Array]:
    static = Reduction(axes, centred, implementation)._asdict()
    return _with(functools.partial(apply, NORMALIZE, static), **others)


def _on_parts(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    **others: Any,
) -> Parallel:
    """Whole rows by each device; parts of rows as :mod:`.slices_in_parts` does it."""
    of_norm = normalized_together(axes=axes, centred=centred, implementation=implementation)

    def together(split: Split) -> Run | None:
        norm = of_norm(split)
        return None if norm is None else functools.partial(_with, norm, **others)

    return Parallel(together=together)


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
    parallel=_on_parts,
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
        if found["x_tangent"] is not None or found["gate_tangent"] is not None:
            held["gate"] = gate
        if found["gate_tangent"] is not None:
            held["x"] = x
    else:
        held |= {"x": x, "residual": residual, "gate": gate}
    static = how.static()
    del static["of_rounded"]
    return (y, r), tuple(apply(ADD_TANGENT, static, **found, **held))
