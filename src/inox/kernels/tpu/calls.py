"""For each operation its kernel, or None where it has none for a case."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..kernel import Axes, Kernel, Outputs, Run
from ..varying import gradient_varies, joint_shape, varies
from .backward import Wanted, gradients_of_rows
from .block_sizes import blocks
from .forward import normalize_rows
from .groups import groups_of
from .views import Rows, rows

Array = jax.Array

# Of more elements than that a row's number is not exact in float32.
LONGEST = 2**24
# The rows of float32 that a parameter takes in VMEM, twice and filled up, and the sums for the
# gradient of one: two times 8, and what is written.
PARAMETER, SUMS = 4, 20


def _supported(*arrays: Any) -> bool:
    """Whether arrays are of one dtype that the kernels know."""
    dtypes = {array.dtype for array in arrays}
    return len(dtypes) == 1 and dtypes <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)}


def _epsilon(array: Array) -> Array:
    return array.reshape(1, 1).astype(jnp.float32)


def _normalize(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    group: int = 0,
) -> Run | None:
    """The kernel of `normalize`; none with a mask, or with an epsilon per slice."""
    x, epsilon = operands["x"], operands["epsilon"]
    parameters = [operands[name] for name in ("scale", "bias") if name in operands]
    if "where" in operands or epsilon.size != 1 or not _supported(x):
        return None
    varying = [varies(p.shape) for p in parameters]
    shape, copied = joint_shape(x, *parameters), implementation == "tpu"
    if not group and (groups := groups_of(shape, axes, varying, copied=copied)):
        on_channels = _normalize(
            groups.merged_types(operands),
            axes=axes,
            centred=centred,
            implementation=implementation,
            group=groups.size,
        )
        if on_channels is not None:
            return groups.on_merged(on_channels, x.shape)
    found = rows(shape, axes, varying, copied=copied)
    if found is None or found.sizes[-1] >= LONGEST:
        return None
    seen: Rows = found
    sizes = blocks(seen.sizes, x.dtype.itemsize, 2, 2 * PARAMETER, group > 0)
    if sizes is None:
        return None

    def run(
        *, x: Array, epsilon: Array, scale: Array | None = None, bias: Array | None = None
    ) -> tuple[Array, ...]:
        given = (None if p is None else seen.parameter(p, axes) for p in (scale, bias))
        y = normalize_rows(
            seen.sheets(x),
            _epsilon(epsilon),
            *given,
            blocks=sizes,
            centred=centred,
            group=group,
        )
        return (seen.array(y),)

    return run


def _cotangent(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: Outputs,
    group: int = 0,
) -> Run | None:
    """The kernel of `normalize_cotangent`; none for the gradient of epsilon."""
    dy, x, epsilon = operands["dy"], operands["x"], operands["epsilon"]
    parameters = [operands["scale"]] if "scale" in operands else []
    wanted = {name.removesuffix("_tangent"): shared for name, shared in outputs}
    if "where" in operands or "epsilon" in wanted:
        return None
    if epsilon.size != 1 or not _supported(x, dy):
        return None
    shape = joint_shape(dy, x, *parameters)
    # Under `vmap` over some of them alone, a sum that does not depend on what is mapped has size 1
    # along it, where the kernel would repeat it.
    if "bias" in wanted and dy.shape != shape:
        return None
    if "scale" in wanted and joint_shape(dy, x) != shape:
        return None
    flags = [varies(parameter.shape) for parameter in parameters]
    for name, shared in wanted.items():
        if name != "x":
            flags.append(gradient_varies(shape, shared))
    copied = implementation == "tpu"
    if not group and (groups := groups_of(shape, axes, flags, copied=copied)):
        on_channels = _cotangent(
            groups.merged_types(operands),
            axes=axes,
            centred=centred,
            implementation=implementation,
            outputs=groups.merged_outputs(outputs),
            group=groups.size,
        )
        if on_channels is not None:
            return groups.on_merged(on_channels, shape)
    found = rows(shape, axes, flags, copied=copied)
    if found is None or found.sizes[-1] >= LONGEST:
        return None
    seen: Rows = found
    asked = Wanted(*(name in wanted for name in Wanted._fields))
    held = PARAMETER + SUMS * (asked.scale + asked.bias)
    sizes = blocks(seen.sizes, x.dtype.itemsize, 2 + asked.x, held, group > 0)
    if sizes is None:
        return None

    def run(
        *, dy: Array, x: Array, epsilon: Array, scale: Array | None = None
    ) -> tuple[Array, ...]:
        found = gradients_of_rows(
            seen.sheets(dy),
            seen.sheets(x),
            _epsilon(epsilon),
            None if scale is None else seen.parameter(scale, axes),
            blocks=sizes,
            centred=centred,
            wanted=asked,
            group=group,
        )
        return tuple(
            seen.array(found[name]) if name == "x" else seen.gradient(found[name], axes, shared)
            for name, shared in wanted.items()
        )

    return run


CALLS: Mapping[str, Kernel] = {"normalize": _normalize, "normalize_cotangent": _cotangent}
