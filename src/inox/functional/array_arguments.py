"""What is taken for an array of real numbers, and as which floating-point array.

Everything else is refused with a message that names the argument, what was found and the cure.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

Array = jax.Array
ArrayLike = jax.typing.ArrayLike

# The longest description of a wrong value in a message.
LONGEST = 60


def described(value: Any) -> str:
    """A wrong value as a message shows it: in one line, an array by its type."""
    if isinstance(value, (jax.Array, np.ndarray)):
        traced = "a traced" if isinstance(value, Tracer) else "an"
        return f"{traced} array of {value.dtype}, shape {value.shape}"
    if isinstance(value, (list, tuple)) and _arrays_in(value):
        kinds = [type(item).__name__ for item in value[:3]] + ["..."][: len(value) > 3]
        return f"a {type(value).__name__} of ({', '.join(kinds)})"
    if callable(value) and hasattr(value, "__name__"):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__}"
    text = " ".join(repr(value).split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 3]}..."
    return text


def floating(x: ArrayLike, name: str = "x") -> Array:
    """`x` as a floating-point array; integers and booleans become the default float.

    Integers of 64 bits and more do so before JAX sees them, which would keep their last 32.
    """
    array = x if isinstance(x, jax.Array) else _as_array(x, name)
    kind = _kind(array.dtype)
    if kind == "floating":
        return array
    if kind == "integer":
        return array.astype(jnp.result_type(float))
    raise TypeError(f"{name} must hold real numbers; found dtype {array.dtype}. {kind}")


@functools.lru_cache
def _kind(dtype: Any) -> str:
    """Floating, integer, or the cure for a dtype that is neither."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return "Normalize real and imaginary parts apart, for example as two channels."
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return "Draw numbers with the key, for example jax.random.normal(key, shape)."
    if dtype == jnp.float8_e8m0fnu:
        return "It has no negative numbers; convert to another type, x.astype(jnp.float32)."
    if jnp.issubdtype(dtype, jnp.floating):
        return "floating"
    if jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_:
        return "integer"
    return "Convert it to a floating-point type, for example x.astype(jnp.float32)."


def _as_array(x: Any, name: str) -> Array:
    """An array of what is none of JAX's; wide integers as floating-point numbers."""
    if cure := _cure(x):
        raise TypeError(f"{name} must be an array of real numbers; found {described(x)}. {cure}")
    try:
        if isinstance(x, (int, list, tuple)) and not isinstance(x, bool) and not _arrays_in(x):
            values = np.asarray(x)
            if values.dtype == object and all(isinstance(v, (int, float)) for v in values.flat):
                values = values.astype(np.float64)  # integers beyond 64 bits
        else:
            values = x
        numpy = isinstance(values, (np.ndarray, np.generic))
        if numpy and values.dtype.kind in "iu" and values.itemsize > 4:
            values = values.astype(jnp.result_type(float))
        return jnp.asarray(values)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"{name} must be an array of real numbers; found {described(x)}. Pass an array that "
            "jax.numpy makes or takes, of float, integer or bool."
        ) from None


def _cure(x: Any) -> str | None:
    """What to do where a value is a known mistake, else None."""
    if x is None:
        return "Pass an array; a function without a return statement gives None."
    if isinstance(x, str):
        return "Pass an array of numbers."
    if isinstance(x, np.ma.MaskedArray):
        return "Pass its data and where=~x.mask, as a mask is an argument of its own here."
    if isinstance(x, np.ndarray):
        numbers = x.dtype.kind != "O"
        return None if numbers else "Convert it to numbers, for example x.astype(np.float32)."
    if isinstance(x, jax.ShapeDtypeStruct):
        return "It is a type without numbers: evaluate with jax.eval_shape(function, x)."
    if isinstance(x, Mapping):
        return "Pass one of the arrays that it holds."
    if isinstance(x, (list, tuple)) and any(np.ndim(item) for item in _arrays_in(x)):
        if len(x) == 2 and hasattr(x[0], "dtype") and not hasattr(x[1], "dtype"):
            return "A batch norm returns a pair: unpack it, y, state = layer(x, state), and pass y."
        return "Make one array of several with jnp.stack or jnp.concatenate, or pass one of them."
    if callable(x):
        return "Call it, and pass the array that it returns."
    return None


def _arrays_in(x: Any) -> list[Any]:
    """The arrays in a list, a tuple or another tree (a number holds none)."""
    return [leaf for leaf in jax.tree.leaves(x) if isinstance(leaf, (jax.Array, np.ndarray))]
