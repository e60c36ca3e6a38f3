"""What all layers for Flax NNX share: parameters, and the dtypes in which they are computed."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from ..flax_conventions import check_dtype, computed_in, index_groups
from ..optional_packages import framework

framework("flax.nnx", "flax")
from flax import nnx  # noqa: E402 (after the error that says what to install)
from flax.nnx.nn import dtypes  # noqa: E402 (likewise)

Array = jax.Array
Initializer = Callable[..., Any]
PromoteDtype = Callable[..., Any]
promote_dtype: PromoteDtype = dtypes.promote_dtype
zeros: Initializer = nnx.initializers.zeros_init()
ones: Initializer = nnx.initializers.ones_init()


class NormalizationLayer(nnx.Module):
    """Scale and bias as `nnx.Param`, and the attributes that Flax' own layers have."""

    scale: Any
    bias: Any
    epsilon: float
    dtype: Any
    axis_name: Any
    axis_index_groups: Any
    promote_dtype: PromoteDtype

    def _set(
        self,
        number: int,
        rngs: Any,
        *,
        use_scale: bool,
        scale_init: Initializer,
        scale_metadata: Mapping[str, Any],
        use_bias: bool | None = None,
        bias_init: Initializer = zeros,
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        **attributes: Any,
    ) -> None:
        """Sets parameters and attributes, after checks; without `use_bias` there is no bias."""
        check_dtype(attributes["dtype"])
        index_groups(attributes["axis_name"], attributes["axis_index_groups"])
        dtype = attributes["param_dtype"]
        used = {"scale": use_scale, "bias": use_bias}
        made = {"scale": (scale_init, scale_metadata), "bias": (bias_init, bias_metadata)}
        for name, use in used.items():
            if use is None:
                continue
            initializer, metadata = made[name]
            value = nnx.data(None)
            if use:
                value = nnx.Param(initializer(rngs.params(), (number,), dtype), **metadata)
            setattr(self, name, value)
            setattr(self, f"use_{name}", use)
        for name, value in attributes.items():
            setattr(self, name, value)

    def _operands(self, x: Any, *statistics: Array) -> tuple[Any, ...]:
        """x, statistics, scale and bias, in the dtypes in which they are computed with.

        Flax' own promotion would round them to `dtype` before anything is computed. Ours happens
        inside, in float32 at least, and the result is rounded once. One that the user has given is
        applied.
        """
        bias = getattr(self, "bias", None)
        arrays = [None if p is None else p[...] for p in (self.scale, bias)]
        x = jnp.asarray(x)
        if self.promote_dtype is not promote_dtype:
            given = (
                (x, *statistics, *arrays) if hasattr(self, "bias") else (x, *statistics, arrays[0])
            )
            x, *others = self.promote_dtype(given, dtype=self.dtype)
            if not hasattr(self, "bias"):
                others.append(None)
            return (computed_in(x, self.dtype), *others)
        return (computed_in(x, self.dtype), *statistics, *arrays)

    def _result(self, y: Array) -> Array:
        return y if self.dtype is None else y.astype(self.dtype)

    @property
    def _mapped(self) -> dict[str, Any]:
        """The mapped axes, for :class:`..core.Over`."""
        return {
            "axis_name": self.axis_name,
            "index_groups": index_groups(self.axis_name, self.axis_index_groups),
        }
