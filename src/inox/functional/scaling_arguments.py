"""Checks of what norms take beside a scale: a number added to it, dtypes of what they return.

Every message names the argument, what was found and the cure.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .array_arguments import described
from .scalar_arguments import concrete, is_python_number

Array = jax.Array


def check_scale_offset(value: Any, dtype: Any = None) -> None:
    """Raises where an offset is no real number that is finite in the dtype of the statistics.

    Without a `dtype` it is the widest one that is enabled.
    """
    kind = getattr(value, "dtype", None)
    number = is_python_number(value)
    if not number and not (
        kind is not None
        and (jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer))
    ):
        raise TypeError(
            f"scale_offset must be a number; found {described(value)}. Write 1.0 where the scale "
            "is stored as its distance from 1 (Gemma), or 0.0 where it is stored itself."
        )
    if np.shape(value) != ():
        raise ValueError(
            f"scale_offset must be a scalar; found shape {np.shape(value)}. For one a channel, add "
            "it to the scale that you give: scale + offset."
        )
    offset = value if number else concrete(value)
    if offset is None:
        return
    dtype = jnp.result_type(float) if dtype is None else dtype
    if not abs(offset) <= float(jnp.finfo(dtype).max):
        raise ValueError(
            f"scale_offset must be finite in {dtype}; found {described(value)}. It is added to the "
            "scale: write 1.0 where that is stored as its distance from 1, else 0.0."
        )


def is_given(offset: Any) -> bool:
    """Whether there is an offset to add: 0 is none, while an array may hold any number."""
    return not (isinstance(offset, (int, float, np.generic)) and offset == 0)


def check_offset_has_scale(value: Any, scale: Any) -> None:
    """Raises where there is no scale that an offset would be added to."""
    if scale is None and is_given(value):
        raise ValueError(
            f"scale_offset needs a scale that it is added to; found {described(value)} and "
            "scale=None. Give the stored scale, for example scale=jnp.zeros(channels), or leave "
            "scale_offset out."
        )


def floating_dtype(value: Any, name: str, cure: str) -> np.dtype | None:
    """A dtype of real numbers; None for None. `cure` is what to write."""
    if value is None:
        return None
    try:
        if isinstance(value, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)):
            raise TypeError  # it has a dtype, and is none
        dtype = jnp.result_type(float) if value is float else jnp.dtype(value)
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating) or dtype == jnp.float8_e8m0fnu:
        raise TypeError(
            f"{name} must be a floating-point dtype or None; found {described(value)}. "
            f"Write {cure}."
        )
    return dtype


def rounding_dtype(value: Any) -> np.dtype | None:
    """`normalized_dtype` as a dtype of real numbers."""
    cure = (
        "jnp.bfloat16, or x.dtype, for the dtype that the normalized x is rounded to before it is "
        "scaled (Llama, T5)"
    )
    return floating_dtype(value, "normalized_dtype", cure)


def out_dtype_of(value: Any) -> np.dtype | None:
    """`out_dtype` as a dtype of real numbers."""
    return floating_dtype(value, "out_dtype", "jnp.bfloat16, or x.dtype")


def residual_dtype_of(value: Any) -> np.dtype | None:
    """`residual_dtype` as a dtype of real numbers."""
    return floating_dtype(value, "residual_dtype", "jnp.float32, jnp.bfloat16 or x.dtype")


def check_not_wider(name: str, dtype: np.dtype, statistics: np.dtype) -> None:
    """Raises where a result would be wider than what it is computed in."""
    if dtype.itemsize > statistics.itemsize:
        raise ValueError(
            f"{name} {dtype} is wider than {statistics}, in which the sum is formed. Use {name}="
            f"jnp.{statistics}, or convert x and the residual first: x.astype({dtype})."
        )


def check_rounding_dtype(dtype: np.dtype | None, x: Array, statistics: np.dtype) -> None:
    """Raises where nothing could be rounded to a dtype, as it is wider than what is computed in."""
    if dtype is not None and dtype.itemsize > statistics.itemsize:
        raise ValueError(
            f"normalized_dtype {dtype} is wider than {statistics}, in which x of {x.dtype} is "
            f"normalized. Use normalized_dtype=None, which rounds once, at the end, or convert x "
            f"first: x.astype({dtype})."
        )
