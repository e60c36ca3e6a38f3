r"""RMS norm whose normalized :math:`x` is rounded to a dtype before it is scaled.

.. math:: y = R(\hat x)\, \gamma

with :math:`R` the rounding to a dtype of fewer digits; the product is in the dtype of the
statistics and rounded to that of :math:`x`, as everywhere.

**The derivative.** :math:`R` counts as the identity, as every conversion does in JAX:

.. math:: \dot y = \gamma \dot{\hat x} + R(\hat x)\, \dot\gamma

The first term is :mod:`.normalize_derivative`'s. The second has the rounded :math:`\hat x`: in
:math:`\gamma` the function is linear, with that as its derivative. Unlike a conversion's own
derivative, this one rounds no tangent on the way, and :math:`R(\hat x)` is computed again for the
backward pass and not kept.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..kernels.arithmetic import accumulator
from ..kernels.kernel import Axes
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from ..kernels.result_types import all_known, same_as
from .means import Reduction, masked
from .normalize import known_nonzero, normalize
from .normalize_derivative import TANGENT
from .split_moments import CENTRED_SUMS

Array = jax.Array


def _normalized(
    reduction: Reduction, dtype: np.dtype, x: Array, epsilon: Array, where: Array | None
) -> Array:
    """The normalized `x`: in `dtype` where that is the dtype of `x`, else in the statistics'."""
    statistics = accumulator(x.dtype)
    # Rounded to no other type on the way.
    source = x if x.dtype in (dtype, statistics) else x.astype(statistics)
    return normalize(reduction, source, epsilon, None, None, where)


def rounded(xhat: Array, dtype: np.dtype) -> Array:
    """Rounds to `dtype`, in the dtype of the statistics.

    XLA may drop a pair of conversions to a half type and back, and the rounding with it, but not
    this. It would make 0 of the subnormal numbers of a type with a smaller range (float16): there
    the conversions are kept apart, at the price of an array in between.
    """
    statistics = accumulator(xhat.dtype)
    to, of = jnp.finfo(dtype), jnp.finfo(statistics)
    if to.nexp == of.nexp:
        return lax.reduce_precision(xhat.astype(statistics), int(to.nexp), int(to.nmant))
    return lax.optimization_barrier(xhat.astype(dtype)).astype(statistics)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def normalize_then_round(
    reduction: Reduction,
    dtype: np.dtype,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    where: Array | None,
) -> Array:
    """Standardizes over axes, rounds to `dtype` and scales; all operands have the rank of `x`."""
    y = rounded(_normalized(reduction, dtype, x, epsilon, where), dtype)
    if scale is not None:
        y = masked(y * scale, where)
    return y.astype(x.dtype)


def _tangent(
    *,
    x_tangent: Array | None = None,
    epsilon_tangent: Array | None = None,
    scale_tangent: Array | None = None,
    x: Array,
    epsilon: Array,
    scale: Array | None = None,
    where: Array | None = None,
    dtype: np.dtype,
    axes: Axes,
    centred: bool,
    implementation: str | None,
) -> tuple[Array]:
    reduction = Reduction(axes, centred, implementation)
    (y_tangent,) = apply(
        TANGENT,
        reduction._asdict(),
        x_tangent=x_tangent,
        epsilon_tangent=epsilon_tangent,
        x=x.astype(accumulator(x.dtype)),
        epsilon=epsilon,
        scale=scale,
        where=where,
    )
    if scale_tangent is not None:
        xhat = rounded(_normalized(reduction, dtype, x, epsilon, where), dtype)
        y_tangent = y_tangent + masked(xhat * scale_tangent, where)
    return (y_tangent.astype(x.dtype),)


def _tangent_transpose(
    cotangents: tuple[Array | None, ...],
    wanted: Mapping[str, Any],
    *,
    dtype: np.dtype,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    x: Array,
    epsilon: Array,
    where: Array | None = None,
    **operands: Array,
) -> dict[str, Array]:
    (dy,) = cotangents
    assert dy is not None
    assert TANGENT.transpose is not None
    reduction = Reduction(axes, centred, implementation)
    others = {name: aval for name, aval in wanted.items() if name != "scale_tangent"}
    masks = {} if where is None else {"where": where}
    results: dict[str, Array] = {}
    if others:
        operands |= {"x": x, "epsilon": epsilon, **masks}
        results |= TANGENT.transpose(cotangents, others, **reduction._asdict(), **operands)
    if "scale_tangent" in wanted:
        shape = wanted["scale_tangent"].shape
        shared = tuple(i - dy.ndim for i, n in enumerate(shape) if n == 1 != dy.shape[i])
        zeros = jnp.zeros_like(dy, accumulator(x.dtype), shape=shape)
        xhat = _normalized(reduction, dtype, x, epsilon, where)
        # Where that is rounded already it is left in the type of dy, which the kernel asks for.
        already = xhat.dtype == dtype == dy.dtype
        xhat = lax.optimization_barrier(xhat) if already else rounded(xhat, dtype)
        _, results["scale_tangent"] = apply(
            CENTRED_SUMS,
            Reduction(shared, implementation=implementation)._asdict(),
            t=dy,
            x=xhat,
            mean=zeros,
            mean_low=zeros,
            where=where,
        )
    return results


# (tangents; x, epsilon, scale) -> tangent of y
ROUNDED_TANGENT = Operation(
    "normalize_then_round_tangent",
    ("x_tangent", "epsilon_tangent", "scale_tangent", "x", "epsilon", "scale", "where"),
    _tangent,
    linear=("x_tangent", "epsilon_tangent", "scale_tangent"),
    transpose=_tangent_transpose,
    results=lambda types, **_: all_known([same_as("x", types)]),
)


@functools.partial(normalize_then_round.defjvp, symbolic_zeros=True)
def _derivative(
    reduction: Reduction, dtype: np.dtype, primals: Any, tangents: Any
) -> tuple[Array, Array]:
    x, epsilon, scale, where = primals
    x_tangent, epsilon_tangent, scale_tangent, _ = map(known_nonzero, tangents)
    (y_tangent,) = apply(
        ROUNDED_TANGENT,
        {**reduction._asdict(), "dtype": dtype},
        x_tangent=x_tangent,
        epsilon_tangent=epsilon_tangent,
        scale_tangent=scale_tangent,
        x=x,
        epsilon=epsilon,
        scale=scale,
        where=where,
    )
    return normalize_then_round(reduction, dtype, *primals), y_tangent
