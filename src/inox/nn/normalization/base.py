"""What all normalization layers share: scale, bias, epsilon and what carries them out."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from jax import lax

from ...functional.arguments import AxisName, check_axis_name, scale_or_bias, static_axes
from ...functional.array_arguments import ArrayLike
from ...functional.scalar_arguments import check_epsilon, is_python_number
from ...kernels.backends import check_name
from ..module import Module
from ..parameter import Parameter
from ..static import Node

Array = jax.Array
Axis = int | tuple[int, ...]


class NormalizationLayer(Module):
    """Base class of the normalization layers; its type is what marks scale and bias.

    Args:
        epsilon: A numerical stability term.
        scale: The scale, or None.
        bias: The bias, or None.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Example:
        >>> from inox.nn import LayerNorm
        >>> isinstance(LayerNorm(), NormalizationLayer)
        True
    """

    epsilon: float | Array
    scale: Parameter | None
    bias: Parameter | None
    implementation: str | None

    def __init__(
        self,
        epsilon: float | Array,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
        implementation: str | None = None,
    ) -> None:
        check_epsilon(epsilon)
        # Whether it is there is asked at the call: a layer may be built where it does not run.
        check_name(implementation)
        self.epsilon = static_number(epsilon)
        self.scale = as_parameter(scale, "scale")
        self.bias = as_parameter(bias, "bias")
        self.implementation = implementation

    def _operands(self) -> dict[str, Any]:
        """What each function of :mod:`inox.functional` takes of a layer, by the names there."""
        return {
            "scale": value_of(self.scale),
            "bias": value_of(self.bias),
            "epsilon": constant(self.epsilon),
            "implementation": self.implementation,
        }

    def _converted(self, name: str, value: Any) -> Any:
        converted = super()._converted(name, value)
        if value is None or not holds_numbers(self.__dict__.get(name)):
            return converted
        if name == "epsilon":
            check_epsilon(value)
            return static_number(value)
        if name not in ("scale", "bias") or isinstance(value, Node):
            return converted
        if isinstance(converted, Parameter):  # one of a mask holds a bool, an abstract one a shape
            held: Any = converted.value
            if not isinstance(held, (jax.Array, np.ndarray, np.generic)):
                return converted
        return as_parameter(converted, name)

    def _takes_number(self, name: str, value: Any) -> bool:
        """Whether what is assigned must be a number of the configuration.

        It need not in a mask or a tree of shardings, whose attributes are others, and None stands
        for what is left out of a tree. In a layer that is being built it must.
        """
        if name not in self.__dict__:
            return True
        return value is not None and holds_numbers(self.__dict__[name])


class WithoutBias(NormalizationLayer):
    """What layers without a bias have in common: the attribute is None, and stays so."""

    _with_bias: ClassVar[str]  # the layer that has one

    def _converted(self, name: str, value: Any) -> Any:
        if name == "bias" and value is not None:
            raise TypeError(
                f"bias must be None; found {type(value).__name__}. RMS norm shifts nothing: add it "
                f"to what the layer returns, or use {self._with_bias}."
            )
        return super()._converted(name, value)

    def _operands(self) -> dict[str, Any]:
        operands = super()._operands()
        del operands["bias"]
        return operands


def holds_numbers(held: Any) -> bool:
    """Whether an attribute is one of a layer: a mask or a tree of shardings holds others."""
    value: Any = held.value if isinstance(held, Parameter) else held
    number = is_python_number(value)
    return value is None or number or isinstance(value, (jax.Array, np.ndarray, np.generic))


def static_number(value: Any) -> Any:
    """Python numbers and NumPy scalars as float (static); arrays as they are (leaves)."""
    return float(value) if isinstance(value, (int, float, np.generic)) else value


def constant(value: Any) -> Any:
    """A number of the configuration: no gradient reaches it, as it is no :class:`Parameter`.

    An array of the configuration is a leaf beside the parameters. With a gradient, an optimizer
    would train it.
    """
    return value if isinstance(value, float) else lax.stop_gradient(value)


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


def static_names(axis_name: AxisName) -> AxisName:
    """Names of mapped axes, bound or not, so that they can be part of the static configuration."""
    check_axis_name(axis_name)
    return tuple(axis_name) if isinstance(axis_name, list) else axis_name
