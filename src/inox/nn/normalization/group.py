"""Group norm: the channels in groups, each normalized by itself."""

from collections.abc import Sequence
from typing import Any

import jax

from ...functional.arguments import AxisName
from ...functional.array_arguments import ArrayLike
from ...functional.groups import group_norm
from ...functional.scalar_arguments import check_switch, positive_integer
from ..parameter import Parameter
from .base import Axis, NormalizationLayer, static_axis, static_names

Array = jax.Array


class GroupNorm(NormalizationLayer):
    r"""Creates a group-normalization layer.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    with the mean and variance of each group of :math:`C / G` neighbouring channels. Without
    `center` it is :class:`RMSNorm` of each group.

    Args:
        groups: The number of groups :math:`G` to separate channels into. If :math:`G = 1`, the
            layer is equivalent to :class:`LayerNorm`.
        epsilon: A numerical stability term :math:`\epsilon`, in units of the variance: a float
            (static) or an array (a leaf).
        axis: The axes that are pooled, the last among them: -1 normalizes each position apart,
            (-3, -2, -1) each image, as in the paper.
        center: Whether the mean is subtracted; False divides by the root of the mean square alone.
        scale: The scale :math:`\gamma`, broadcast against `x` from the right; None for 1.
        bias: The bias :math:`\beta`, broadcast against `x` from the right; None for 0.
        axis_name: Names of mapped axes (`shard_map`, `vmap`) that the channels are split over, in
            the order of their positions, the last name fastest. `groups` counts those of all
            channels; a group may lie on one device or span several. Scale and bias are those of
            the channels here.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `groups` is below 1, epsilon negative or an axis repeated.

    Example:
        >>> layer = GroupNorm(groups=8, axis=(-3, -2, -1))
        >>> y = layer(jax.random.normal(jax.random.key(0), (2, 16, 16, 32)))
        >>> print(abs(y[..., :4].mean(axis=(1, 2, 3))).max() < 1e-6)
        True

    References:
        | Group Normalization (Wu & He, 2018)
        | https://arxiv.org/abs/1803.08494
    """

    groups: int
    axis: Axis
    center: bool
    axis_name: AxisName

    def __init__(
        self,
        groups: int,
        epsilon: float | Array = 1e-05,
        *,
        axis: int | Sequence[int] = -1,
        center: bool = True,
        scale: ArrayLike | Parameter | None = None,
        bias: ArrayLike | Parameter | None = None,
        axis_name: AxisName = None,
        implementation: str | None = None,
    ) -> None:
        groups = positive_integer(groups, "groups")
        super().__init__(epsilon, scale, bias, implementation)
        self.groups = groups
        self.axis = static_axis(axis)
        self.center = center
        self.axis_name = static_names(axis_name)
        _check_last_axis(self.axis)
        for name, parameter in (("scale", self.scale), ("bias", self.bias)):
            _check_groups(parameter, name, groups)

    def _converted(self, name: str, value: Any) -> Any:
        if name == "center":
            check_switch(value, name)
            return bool(value)
        return super()._converted(name, value)

    def __call__(self, x: ArrayLike, *, where: ArrayLike | None = None) -> Array:
        """Normalizes `x`.

        Args:
            x: The input tensor, with shape :math:`(*, C)`.
            where: A boolean mask with the rank of `x`, of the elements that take part; the output
                is 0 elsewhere.

        Returns:
            The output tensor, with the shape and dtype of `x`.

        Raises:
            TypeError: If `x` is complex or `where` isn't boolean.
            ValueError: If `groups` doesn't divide the channels, an axis is out of range, an operand
                does not broadcast to `x` or `axis_name` is not bound.
        """
        return group_norm(
            x,
            self.groups,
            axis=self.axis,
            center=self.center,
            where=where,
            axis_name=self.axis_name,
            **self._operands(),
        )


def _check_last_axis(axis: Axis) -> None:
    """Raises where it is known, whatever the rank of x, that the channels are not pooled."""
    axes = (axis,) if isinstance(axis, int) else axis
    if max(axes) < -1:
        raise ValueError(
            f"axis must list the last axis, which is split into groups; found {axis}. Write "
            f"axis={(*axes, -1)}; for single channels over other axes there is InstanceNorm."
        )


def _check_groups(parameter: Parameter | None, name: str, groups: int) -> None:
    """Raises where a scale or bias tells a number of channels that the groups don't divide."""
    shape = () if parameter is None else parameter.value.shape
    if shape and shape[-1] != 1 and shape[-1] % groups:
        raise ValueError(
            f"groups must divide the number of channels; found groups={groups} and a {name} of "
            f"shape {shape}, for {shape[-1]} channels. Choose a divisor of {shape[-1]}."
        )
