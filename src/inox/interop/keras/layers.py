"""What a Keras layer holds and is set to: arrays by name, kind, epsilon, momentum and groups."""

from typing import Any

import numpy as np

from ...nn import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from ...nn.normalization.base import NormalizationLayer
from ..layer_arrays import kind_of
from ..settings import check_kind, check_settings

KINDS: dict[str, list[type[NormalizationLayer]]] = {
    "BatchNormalization": [BatchNorm],
    "LayerNormalization": [LayerNorm],
    "GroupNormalization": [GroupNorm, InstanceNorm],
    "RMSNormalization": [RMSNorm],
    "UnitNormalization": [],
}


def is_layer(value: Any) -> bool:
    """Whether a value is a Keras layer, told by its protocol.

    Args:
        value: Anything.

    Returns:
        Whether it is.

    Example:
        >>> is_layer([1.0])
        False
    """
    return callable(getattr(value, "get_weights", None)) and hasattr(value, "weights")


def check_layer(layer: NormalizationLayer, other: Any) -> None:
    """Raises where a Keras layer is set otherwise than ours.

    Args:
        layer: A layer of ours.
        other: A Keras layer.

    Raises:
        TypeError: If it computes something else.
        ValueError: If epsilon, momentum or groups differ.

    Example:
        >>> check_layer(
        ...     LayerNorm(epsilon=1e-3), keras.layers.LayerNormalization()
        ... )  # doctest: +SKIP
    """
    check_kind(layer, other, KINDS)
    if getattr(other, "rms_scaling", False):
        raise TypeError(
            "weights is a LayerNormalization with rms_scaling=True, which scales by the variance "
            "and subtracts no mean: no layer of inox.nn computes that."
        )
    theirs: dict[str, float] = {}
    if hasattr(other, "epsilon"):
        theirs["epsilon"] = other.epsilon
    if isinstance(layer, BatchNorm) and hasattr(other, "momentum"):
        theirs["momentum"] = other.momentum
    if isinstance(layer, GroupNorm) and hasattr(other, "groups"):
        theirs["groups"] = other.groups
    if type(other).__name__ == "RMSNormalization" and hasattr(layer, "scale_offset"):
        theirs["scale_offset"] = 0.0
    check_settings(layer, f"{type(other).__name__} of Keras", theirs)
    if kind_of(layer) in (LayerNorm, RMSNorm) and hasattr(other, "axis"):
        axes, ours = np.size(other.axis), getattr(layer, "axis", -1)
        if axes != np.size(ours):
            raise ValueError(
                f"axis of the layer must be {axes} axes, as the {type(other).__name__} of Keras "
                f"normalizes over axis={other.axis}; found {ours}. Build it as "
                f"{type(layer).__name__}({tuple(range(-axes, 0))}, ...)."
            )
    held = layer.scale if layer.scale is not None else layer.bias
    if isinstance(layer, InstanceNorm) and held is not None and other.groups != held.value.size:
        raise TypeError(
            "layer must be a GroupNorm, to compute what GroupNormalization does with "
            f"{other.groups} groups of {held.value.size} channels; found InstanceNorm. Build that, "
            "with this one's scale and bias."
        )


def arrays_in(layer: Any) -> dict[str, Any]:
    """The arrays of a Keras layer, by the names that it has for them.

    Args:
        layer: A Keras layer that is built.

    Returns:
        Arrays of Keras' backend by name.

    Raises:
        ValueError: If it is not built, or is several layers in one.

    Example:
        >>> from types import SimpleNamespace
        >>> arrays_in(SimpleNamespace(built=True, weights=[]))
        {}
    """
    if not getattr(layer, "built", True):
        raise ValueError(
            f"weights must be a layer that is built; found {type(layer).__name__} without arrays. "
            "Call it once, or its build(shape)."
        )
    found = {variable.name: array_in(variable) for variable in layer.weights}
    if hasattr(layer, "layers") or len(found) != len(layer.weights):
        raise ValueError(
            f"weights must be one layer; found {type(layer).__name__}, which holds several. Give "
            "one of them, model.get_layer(name)."
        )
    return found


def array_in(value: Any) -> Any:
    """The array in a variable of Keras; other values as they are.

    Args:
        value: A variable, or an array.

    Returns:
        An array, of Keras' backend where it was a variable.

    Example:
        >>> array_in(3.0)
        3.0
    """
    # By what it holds: NumPy, asked to make an array of a variable, warns of Keras' way to do it.
    return value.value if hasattr(value, "assign") and hasattr(value, "value") else value
