"""Checks of numbers that configure a function or layer: epsilon, momentum, counts, switches."""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .array_arguments import described

Array = jax.Array


def integer(value: Any) -> int:
    """`operator.index`, to which a switch is no integer."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError
    return operator.index(value)


def is_python_number(value: Any) -> bool:
    """Whether a value is a float or an integer of Python's; a switch is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def concrete(value: Any) -> np.ndarray | None:
    """The numbers of a value in float64, or None where this process can't look at them now."""
    for leaf in jax.tree.leaves(value):
        if isinstance(leaf, (Tracer, jax.ShapeDtypeStruct)):
            return None
        if isinstance(leaf, jax.Array) and not (
            leaf.is_fully_addressable or leaf.is_fully_replicated
        ):
            return None
    return np.asarray(value, np.float64)


def check_unit_interval(value: Any, name: str) -> None:
    """Raises where a concrete `value` is outside [0, 1]."""
    _check_floating(value, name, "0.9")
    numbers = value if isinstance(value, (int, float)) else concrete(value)
    if numbers is not None and not np.all((numbers >= 0) & (numbers <= 1)):
        raise ValueError(
            f"{name} must be in [0, 1]; found {value}. It is the weight of the old running value: "
            "a framework that counts the new one's (PyTorch's 0.1) means 0.9 here."
        )


def check_not_negative(value: Any, name: str, cure: str) -> None:
    """Raises where a concrete `value` has a number below 0."""
    numbers = concrete(value)
    if numbers is not None and np.any(numbers < 0):
        raise ValueError(f"{name} must not be negative; found {np.nanmin(numbers):g}. {cure}")


def check_epsilon(value: Any, dtype: Any = None) -> None:
    """Raises where a concrete epsilon is negative, or not finite in the dtype of the statistics.

    Without a `dtype` it is the widest one that is enabled.
    """
    if type(value) is float and 0 <= value < 1:  # nearly always: nothing else to look at
        return
    _check_floating(value, "epsilon", "1e-05")
    if isinstance(value, int) and value >= 1:
        raise ValueError(
            f"epsilon must be a small number such as 1e-05; found {described(value)}. If it is "
            "meant as a number of channels or features: no layer but BatchNorm takes one."
        )
    if np.shape(value) != ():
        raise ValueError(
            f"epsilon must be a scalar; found shape {np.shape(value)}. For one a layer, build "
            "stacked layers and map over them with jax.vmap."
        )
    number = value if isinstance(value, (int, float)) else concrete(value)
    if number is None:
        return
    dtype = jnp.result_type(float) if dtype is None else dtype
    if not 0 <= number <= float(jnp.finfo(dtype).max):
        raise ValueError(
            f"epsilon must be finite in {dtype} and not negative; found {value}. It is added to "
            "the variance: use a small positive number such as 1e-05."
        )


def _check_floating(value: Any, name: str, example: str) -> None:
    kind = getattr(value, "dtype", None)
    number = is_python_number(value)
    if not number and not (kind is not None and jnp.issubdtype(kind, jnp.floating)):
        raise TypeError(
            f"{name} must be a float or a floating-point array; found {described(value)}. Write a "
            f"number such as {example}, or jnp.asarray({example}) for one that is traced."
        )


def epsilon_operand(epsilon: Any, x: Array, dtype: Any) -> Array:
    """Epsilon as a scalar with the rank of `x`, in the dtype of the statistics."""
    return jnp.reshape(jnp.asarray(epsilon), (1,) * x.ndim).astype(dtype)


def group_count(groups: int, channels: int, shape: Sequence[int]) -> int:
    """`groups`, checked to divide the channels."""
    groups = positive_integer(groups, "groups")
    if channels % groups:
        raise ValueError(
            f"groups must divide the number of channels; found groups={groups} and {channels} "
            f"channels in x of shape {tuple(shape)}. Choose a divisor of {channels}."
        )
    return groups


def positive_integer(value: int, name: str) -> int:
    """`value` as a Python integer above 0."""
    return integer_from(1, value, name, 8, "Write how many there are, for example 8.")


def integer_from(least: int, value: int, name: str, example: int, cure: str) -> int:
    """`value` as a Python integer from `least` on."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an integer; found {described(value)}. Write a number such as "
            f"{example}, which is known before anything is traced."
        ) from None
    if isinstance(value, bool) or number < least:
        bound = f"above {least - 1}" if least else "from 0"
        raise ValueError(f"{name} must be an integer {bound}; found {described(value)}. {cure}")
    return number


def check_switch(value: Any, name: str) -> None:
    """Raises where a switch isn't True or False: the text "no" would count as True."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"{name} must be True or False; found {described(value)}. Write a bool, known before "
            "anything is traced."
        )
