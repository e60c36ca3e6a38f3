"""Layers whose scale may be stored as its distance from a number, which is then added to it."""

from typing import Any

import jax

from ...functional.array_arguments import ArrayLike
from ...functional.scaling_arguments import check_offset_has_scale, check_scale_offset
from ..parameter import Parameter
from .base import NormalizationLayer, constant, static_number

Array = jax.Array


class OffsetScaleLayer(NormalizationLayer):
    """What the layers with an offset of the scale have in common."""

    scale_offset: float | Array

    def __init__(
        self,
        epsilon: float | Array,
        scale: ArrayLike | Parameter | None,
        bias: ArrayLike | Parameter | None,
        scale_offset: float | Array,
        implementation: str | None,
    ) -> None:
        super().__init__(epsilon, scale, bias, implementation)
        self.scale_offset = scale_offset  # checked where it is assigned, here and later
        check_offset_has_scale(scale_offset, self.scale)

    def _converted(self, name: str, value: Any) -> Any:
        if name == "scale_offset" and self._takes_number(name, value):
            check_scale_offset(value)
            return static_number(value)
        return super()._converted(name, value)

    def _operands(self) -> dict[str, Any]:
        return super()._operands() | {"scale_offset": constant(self.scale_offset)}
