"""What all layers for Flax Linen share: parameters, and checks of the configuration."""

from collections.abc import Callable
from typing import Any

import jax

from ..core import along
from ..flax_conventions import Axes, check_dtype, front_axes, index_groups
from ..optional_packages import framework

framework("flax.linen", "flax")
from flax import linen as nn  # noqa: E402 (after the error that says what to install)

Array = jax.Array
Initializer = Callable[..., Any]
zeros: Initializer = nn.initializers.zeros
ones: Initializer = nn.initializers.ones


class NormalizationLayer(nn.Module):
    """Checks, where a layer is built. What it computes stands in functions.

    Linen takes every method of a module for one that is called from outside: it traces it under a
    name of its own, shows it to interceptors and in summaries, and captures what it returns.
    """

    def __post_init__(self) -> None:
        """Refuses what can't be honoured, where the layer is built."""
        check_dtype(said(self, "dtype"))
        index_groups(said(self, "axis_name"), said(self, "axis_index_groups"))
        super().__post_init__()


def said(layer: nn.Module, name: str) -> Any:
    """A field that the layers declare; RMS norm has no bias."""
    return getattr(layer, name, None)


def parameters_of(
    layer: nn.Module, x: Array, feature_axes: Axes
) -> tuple[Array | None, Array | None]:
    """Scale and bias with the rank of `x`, made at the first call."""
    features = front_axes(feature_axes, x.ndim)
    shape = tuple(x.shape[axis] for axis in features)
    scale, bias = (
        along(
            layer.param(name, said(layer, f"{name}_init"), shape, said(layer, "param_dtype")),
            x,
            features,
        )
        if said(layer, f"use_{name}")
        else None
        for name in ("scale", "bias")
    )
    return scale, bias


def result_of(layer: nn.Module, y: Array) -> Array:
    """The output in the dtype that the layer says."""
    dtype = said(layer, "dtype")
    return y if dtype is None else y.astype(dtype)


def mapped_axes(layer: nn.Module) -> dict[str, Any]:
    """The mapped axes, for :class:`..core.Over`."""
    name = said(layer, "axis_name")
    return {"axis_name": name, "index_groups": index_groups(name, said(layer, "axis_index_groups"))}
