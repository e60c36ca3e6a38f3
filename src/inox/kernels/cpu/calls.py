"""For each operation its kernel: the call of the library, or None where it has none for a case."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import accumulator
from ..kernel import Axes, Kernel, Outputs, Run
from ..varying import gradient_varies, joint_shape, varies
from .custom_call import call, nothing, supported
from .residual_calls import add_cotangent, add_normalize
from .views import View, view

Array = jax.Array


def _operands(
    seen: View, epsilon: Array, scale: Array | None, bias: Array | None
) -> tuple[Array, Array, Array]:
    dtype = epsilon.dtype
    scale, bias = (nothing(dtype) if p is None else seen.parameter(p) for p in (scale, bias))
    return epsilon, scale, bias


def _mask(seen: View, where: Array | None) -> tuple[Array, ...]:
    """The operand more that calls with a mask have."""
    return () if where is None else (seen.mask(where),)


def _normalize(
    operands: Mapping[str, Any], *, axes: Axes, centred: bool, implementation: str | None
) -> Run | None:
    """The kernel of `normalize`; none with an epsilon per slice, or a mask within slices."""
    x, epsilon, where = operands["x"], operands["epsilon"], operands.get("where")
    parameters = [operands[name] for name in ("scale", "bias") if name in operands]
    if epsilon.size != 1 or not supported(x) or epsilon.dtype != accumulator(x.dtype):
        return None
    shape = joint_shape(x, *parameters, *(() if where is None else (where,)))
    found = view(shape, axes, [varies(p.shape) for p in parameters])
    if found is None or (where is not None and not found.takes(where.shape)):
        return None
    seen: View = found

    def run(
        *,
        x: Array,
        epsilon: Array,
        scale: Array | None = None,
        bias: Array | None = None,
        where: Array | None = None,
    ) -> tuple[Array, ...]:
        given = _operands(seen, epsilon, scale, bias)
        (y,) = call(
            "inox_normalize" if where is None else "inox_normalize_where",
            [(math.prod(shape), x.dtype)],
            jnp.broadcast_to(x, shape),
            *given,
            *_mask(seen, where),
            shape=seen.sizes(),
            centred=np.bool_(centred),
        )
        return (y.reshape(shape),)

    return run


def _cotangent(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: Outputs,
) -> Run | None:
    """The kernel of `normalize_cotangent`; none for the gradient of epsilon; masks as above."""
    dy, x, epsilon, scale = (operands.get(name) for name in ("dy", "x", "epsilon", "scale"))
    where = operands.get("where")
    assert dy is not None
    assert x is not None
    assert epsilon is not None
    wanted = dict(outputs)
    if "epsilon_tangent" in wanted:
        return None
    if where is not None and joint_shape(dy, x, where) != joint_shape(dy, x):
        return None
    if epsilon.size != 1 or not supported(x, dy):
        return None
    # Under `vmap` over some of the operands alone, a sum that does not depend on what is mapped has
    # size 1 along it: it is the kernel's of smaller arrays, in a call of its own.
    spans = {
        "x_tangent": joint_shape(dy, x) if scale is None else joint_shape(dy, x, scale),
        "scale_tangent": joint_shape(dy, x),
        "bias_tangent": dy.shape,
    }
    parts: list[Callable[..., dict[str, Array]]] = []
    for shape in dict.fromkeys(spans[name] for name in wanted):
        of_shape = {name: shared for name, shared in outputs if spans[name] == shape}
        part = _cotangent_of(shape, of_shape, scale, where, axes, centred)
        if part is None:
            return None
        parts.append(part)

    def run(**arrays: Array) -> tuple[Array, ...]:
        found: dict[str, Array] = {}
        for part in parts:
            found |= part(**arrays)
        return tuple(found[name] for name, _ in outputs)

    return run


def _cotangent_of(
    shape: tuple[int, ...],
    wanted: Mapping[str, Axes],
    scale: Any,
    where: Any,
    axes: Axes,
    centred: bool,
) -> Callable[..., dict[str, Array]] | None:
    """One call, for those gradients that belong to arrays of one shape."""
    flags: list[tuple[bool, ...]] = []
    scaled = False
    if scale is not None and "x_tangent" in wanted:
        flags, scaled = [varies(scale.shape)], True
    for name, shared in wanted.items():
        if name != "x_tangent":
            flags.append(gradient_varies(shape, shared))
    if where is not None and np.broadcast_shapes(shape, where.shape) != shape:
        return None
    found = view(shape, axes, flags)
    if found is None or (where is not None and not found.takes(where.shape)):
        return None
    seen: View = found

    def run(
        *,
        dy: Array,
        x: Array,
        epsilon: Array,
        scale: Array | None = None,
        where: Array | None = None,
    ) -> dict[str, Array]:
        parameter = math.prod(seen.sizes("PGC"))
        # The sum of dy alone knows no x, which may be larger.
        x = dy if set(wanted) == {"bias_tangent"} else x
        dx, dscale, dbias = call(
            "inox_normalize_cotangent" if where is None else "inox_cotangent_where",
            [
                (math.prod(shape) if "x_tangent" in wanted else 0, x.dtype),
                (parameter if "scale_tangent" in wanted else 0, epsilon.dtype),
                (parameter if "bias_tangent" in wanted else 0, epsilon.dtype),
            ],
            jnp.broadcast_to(dy, shape),
            jnp.broadcast_to(x, shape),
            *_operands(seen, epsilon, scale if scaled else None, None)[:2],
            *_mask(seen, where),
            shape=seen.sizes(),
            centred=np.bool_(centred),
        )
        arrays = {
            "x_tangent": lambda: dx.reshape(shape),
            "scale_tangent": lambda: seen.gradient(dscale, wanted["scale_tangent"]),
            "bias_tangent": lambda: seen.gradient(dbias, wanted["bias_tangent"]),
        }
        return {name: arrays[name]() for name in wanted}

    return run


def _slices(operands: Mapping[str, Any], axes: Axes) -> View | None:
    """The view for operations whose results are numbers of a slice."""
    x = operands["x"]
    return None if "where" in operands or not supported(x) else view(x.shape, axes)


def _merged(seen: View) -> tuple[int, int, int, int, int]:
    """(P N, 1, M, G, C)."""
    p, n, m, g, c = seen.sizes()
    return p * n, 1, m, g, c


def _moments(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    implementation: str | None,
    centred: bool,
) -> Run | None:
    """The kernel of `moments`; none for moments about 0."""
    found = _slices(operands, axes)
    if found is None or not centred:
        return None
    seen: View = found
    p, _, _, g, _ = sizes = _merged(seen)

    def run(*, x: Array) -> tuple[Array, ...]:
        dtype = accumulator(x.dtype)
        shape = [1 if i - x.ndim in axes else n for i, n in enumerate(x.shape)]
        results = call("inox_moments", [(p * g, dtype)] * 3, x, shape=sizes)
        return tuple(result.reshape(shape) for result in results)

    return run


def _centred_sums(
    operands: Mapping[str, Any], *, axes: Axes, implementation: str | None, centred: bool
) -> Run | None:
    """The kernel of `centred_sums`; none where an operand is broadcast."""
    t, x, mean = operands["t"], operands["x"], operands["mean"]
    shape = tuple(1 if i - len(x.shape) in axes else n for i, n in enumerate(x.shape))
    found = _slices(operands, axes)
    if found is None or t.shape != x.shape or t.dtype not in (x.dtype, mean.dtype):
        return None
    if mean.shape != shape or operands["mean_low"].shape != shape:
        return None
    p, _, _, g, _ = sizes = _merged(found)

    def run(*, t: Array, x: Array, mean: Array, mean_low: Array) -> tuple[Array, ...]:
        results = [(p * g, mean.dtype)] * 2
        sums = call("inox_centred_sums", results, t, x, mean, mean_low, shape=sizes)
        return tuple(along.reshape(shape) for along in sums)

    return run


CALLS: Mapping[str, Kernel] = {
    "normalize": _normalize,
    "normalize_cotangent": _cotangent,
    "moments": _moments,
    "centred_sums": _centred_sums,
    "add_normalize": add_normalize,
    "add_normalize_cotangent": add_cotangent,
}
