"""What all layers for Flax Linen share: parameters, and checks of the configuration."""

from collections.abc import Callable
from typing import Any

import jax

from ..core import along
from ..flax_conventions import Axes, check_dtype, front_axes, index_groups
from ..frameworks import framework

framework("flax.linen", "flax")
from flax import linen as nn  # noqa: E402 (after the error that says what to install)

Array = jax.Array
Initializer = Callable[..., Any]
zeros: Initializer = nn.initializers.zeros
ones: Initializer = nn.initializers.ones


class NormalizationLayer(nn.Module):
    """Scale and bias as Linen's parameters, along the axes of the features."""

    def __post_init__(self) -> None:
        """Refuses what can't be honoured, where the layer is built."""
        check_dtype(self._said("dtype"))
        index_groups(self._said("axis_name"), self._said("axis_index_groups"))
        super().__post_init__()

    def _said(self, name: str) -> Any:
        """A field that the layers declare; RMS norm has no bias."""
        return getattr(self, name, None)

    def _parameters(self, x: Array, feature_axes: Axes) -> tuple[Array | None, Array | None]:
        """Scale and bias with the rank of `x`, made at the first call."""
        features = front_axes(feature_axes, x.ndim)
        shape = tuple(x.shape[axis] for axis in features)
        scale, bias = (
            along(
                self.param(name, self._said(f"{name}_init"), shape, self._said("param_dtype")),
                x,
                features,
            )
            if self._said(f"use_{name}")
            else None
            for name in ("scale", "bias")
        )
        return scale, bias

    def _result(self, y: Array) -> Array:
        dtype = self._said("dtype")
        return y if dtype is None else y.astype(dtype)

    @property
    def _mapped(self) -> dict[str, Any]:
        """The mapped axes, for :class:`..core.Over`."""
        name = self._said("axis_name")
        return {
            "axis_name": name,
            "index_groups": index_groups(name, self._said("axis_index_groups")),
        }
