"""What all normalization layers share: scale, bias and epsilon."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ...functional.arguments import ArrayLike, check_epsilon, scale_or_bias, static_axes
from ..module import Module
from ..parameter import Parameter

Array = jax.Array
Axis = int | tuple[int, ...]


class NormalizationLayer(Module):
    """Base class of the normalization layers; its type is what marks scale and bias.

    Args:
        epsilon: A numerical stability term.
        scale: The scale, or None.
        bias: The bias, or None.

    Example:
        >>> from inox.nn import LayerNorm
        >>> isinstance(LayerNorm(), NormalizationLayer)
        True
    """

    epsilon: float | Array
    scale: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        epsilon: float | Array,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
    ) -> None:
        check_epsilon(epsilon)
        self.epsilon = static_number(epsilon)
        self.scale = as_parameter(scale, "scale")
        self.bias = as_parameter(bias, "bias")


def static_number(value: Any) -> Any:
    """Python numbers and NumPy scalars as float (static); arrays as they are (leaves)."""
    return float(value) if isinstance(value, (int, float, np.generic)) else value


def as_parameter(value: ArrayLike | Parameter | None, name: str) -> Parameter | None:
    """`value` as a parameter of floating-point numbers."""
    if isinstance(value, Parameter):
        scale_or_bias(value.value, name)
        return value
    array = scale_or_bias(value, name)
    return None if array is None else Parameter(array)


def value_of(parameter: Parameter | None) -> Array | None:
    """The array of a parameter that may be None."""
    return None if parameter is None else parameter()


def static_axis(axis: int | Sequence[int]) -> Axis:
    """`axis` as an integer or a tuple, so that it can be part of the static configuration."""
    axes = static_axes(axis)
    return axes[0] if len(axes) == 1 and np.ndim(axis) == 0 else axes
