"""Kernels, and the scale and bias of a norm, as arrays of numbers that can be folded."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..functional.array_arguments import floating
from ..functional.scalar_arguments import integer
from ..nn import Parameter

Array = jax.Array


def floats(array: Any, name: str) -> Array:
    """A kernel or bias as floating-point numbers; integers are refused."""
    value = array.value if isinstance(array, Parameter) else array
    kind = getattr(value, "dtype", np.float32)
    if jnp.issubdtype(kind, jnp.integer) or kind == jnp.bool_:
        raise TypeError(
            f"{name} must hold floating-point numbers; found dtype {kind}, in which the folded "
            "values can't be kept. Fold the kernel that it was quantized from, then quantize; or "
            f"convert it, {name}.astype(jax.numpy.float32)."
        )
    return floating(value, name)


def one_axis(axis: Any, shape: tuple[int, ...], purpose: str) -> int:
    """An axis of a kernel of `shape`, counted from 0."""
    try:
        place = integer(axis)
    except TypeError:
        raise TypeError(
            f"axis must be one integer, that of the kernel's axis of {purpose}; found {axis!r}. "
            "Write axis=-1 for the last one."
        ) from None
    rank = len(shape)
    if not -rank <= place < rank:
        raise ValueError(
            f"axis {place} is out of range for kernel of shape {shape}. Use values from {-rank} to "
            f"{rank - 1}."
        )
    return place % rank


def by_channel(
    parameter: Parameter | None, name: str, channels: int, dtype: Any, owner: str = "layer"
) -> Array | None:
    """A scale or bias of a norm as one value a channel."""
    if parameter is None:
        return None
    value = parameter()
    shape = value.shape or (1,)
    if shape[-1] not in (1, channels) or any(length != 1 for length in shape[:-1]):
        raise ValueError(
            f"{owner} has a {name} of shape {value.shape}, which varies over more than its "
            f"{channels} channels. A kernel holds one factor a channel: it can't be folded."
        )
    return jnp.broadcast_to(jnp.reshape(value, shape[-1:]), (channels,)).astype(dtype)
