"""Adding numbers up, as an operation: a platform whose own sum errs may bring a better one."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.explicit_sharding import split_as_type
from ..kernels.kernel import Axes
from ..kernels.operation import Operation
from ..kernels.primitive import apply
from ..kernels.result_types import all_known, reduced

Array = jax.Array


def is_number(size: Any) -> bool:
    """Whether a size is known; in an export it may be a symbol."""
    return isinstance(size, int)


def _sum(*, x: Array, axes: Axes) -> tuple[Array]:
    return (jnp.sum(x, axes, keepdims=True),)


def _sum_transpose(
    cotangents: tuple[Array | None, ...], wanted: Mapping[str, Any], *, axes: Axes
) -> dict[str, Array]:
    """Each term enters the sum with weight 1: the cotangent is repeated along the axes."""
    (repeated,) = cotangents
    assert repeated is not None
    return {"x": split_as_type(jnp.broadcast_to(repeated, wanted["x"].shape), wanted["x"])}


SUM = Operation(
    "sum",
    ("x",),
    _sum,
    linear=("x",),
    transpose=_sum_transpose,
    results=lambda types, *, axes: all_known([reduced("x", types, axes, types["x"].dtype)]),
)


def sum_along(x: Array, axes: Axes) -> Array:
    """The sum of `x` over `axes` (negative), dimensions kept with size 1."""
    return apply(SUM, {"axes": axes}, x=x)[0] if axes else x
