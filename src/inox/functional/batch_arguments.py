r"""The arguments of batch norm, checked and converted to what its formulas take."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.arithmetic import accumulator
from ..kernels.backends import check_implementation
from ..kernels.mapped_axes import IndexGroups, Names
from .arguments import (
    AxisName,
    affine_array,
    affine_operand,
    bound_names,
    mask_operand,
    negative_axes,
)
from .array_arguments import ArrayLike, floating
from .device_group_arguments import ArgumentGroups, bound_index_groups
from .means import Reduction, masked
from .sample_weight_arguments import check_weights_by, weights_operand
from .scalar_arguments import check_epsilon, epsilon_operand
from .split_moments import Upcast, upcasting
from .weighted_moments import without_nonfinite

Array = jax.Array

# The steps are compiled on their own where nothing else is: a few calls in place of a hundred.
compiled = functools.partial(jax.jit, inline=True)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["upcast", "scale", "bias", "epsilon", "where", "weights"],
    meta_fields=["names", "index_groups", "reduction", "whole"],
)
@dataclasses.dataclass(frozen=True)
class Batch:
    """The arguments of batch norm, checked and converted: all arrays have the rank of `x`.

    Args:
        upcast: The array, with the copy that carries its derivative.
        scale: The scale, in the dtype of the statistics.
        bias: The bias, in the dtype of the statistics.
        epsilon: What is added to the variance.
        where: The mask.
        weights: How much each element counts; None for 1.
        names: The mapped axes to pool over.
        index_groups: Which positions of the one mapped axis are pooled together; None for all.
        reduction: The axes of the batch, and what carries the operations out.
        whole: Whether what the mask leaves out is normalized as well, by the moments of the rest.
    """

    upcast: Upcast
    scale: Array | None
    bias: Array | None
    epsilon: Array
    where: Array | None
    weights: Array | None
    names: Names
    index_groups: IndexGroups
    reduction: Reduction
    whole: bool

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of the batch."""
        return self.reduction.axes


def checked_batch(
    x: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    axis: int | Sequence[int] | None = None,
    epsilon: float | Array,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    axis_name: AxisName = None,
    implementation: str | None = None,
    axis_index_groups: ArgumentGroups = None,
    centred: bool = True,
    whole: bool = False,
) -> Batch:
    """The arguments of batch norm, or an error that names the wrong one.

    An `axis` of `()` is taken: each element is then its own mean, with a variance of 0.
    """
    check_implementation(implementation, where)
    check_weights_by(implementation, weights)
    x = floating(x)
    if axis is not None:
        axes = () if axis == () else negative_axes(axis, x.shape)
    elif x.ndim > 1:
        axes = tuple(range(-x.ndim, -1))
    else:
        raise ValueError(
            f"x must have a batch axis and a channel axis, (N, *, C); found shape {x.shape}. "
            "For a single sample add an axis, x[None]; under jax.vmap pass axis_name to pool "
            "over the mapped axis and give each call at least one row."
        )
    check_epsilon(epsilon, accumulator(x.dtype))
    names = bound_names(axis_name)
    return _converted(
        x,
        affine_array(scale, x, "scale"),
        affine_array(bias, x, "bias"),
        epsilon,
        mask_operand(where, x),
        weights_operand(weights, x, accumulator(x.dtype)),
        names,
        bound_index_groups(axis_index_groups, axis_name, names),
        Reduction(axes, centred, implementation),
        whole,
    )


@functools.partial(compiled, static_argnames=("names", "index_groups", "reduction", "whole"))
def _converted(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    epsilon: float | Array,
    where: Array | None,
    weights: Array | None,
    names: Names,
    index_groups: IndexGroups,
    reduction: Reduction,
    whole: bool,
) -> Batch:
    dtype = accumulator(x.dtype)
    # Masked before anything reads it: NaN in padding would stop a program that looks for NaN. And
    # its derivative would be NaN where what stands in padding is normalized as well.
    x = masked(x, where | jnp.isfinite(x) if whole and where is not None else where)
    x = x if weights is None else without_nonfinite(x, weights, None)
    shown = None if whole else where
    return Batch(
        upcasting(x),
        affine_operand(scale, x, dtype, shown),
        affine_operand(bias, x, dtype, shown),
        epsilon_operand(epsilon, x, dtype),
        where,
        weights,
        names,
        index_groups,
        reduction,
        whole,
    )


def mean_and_var(statistics: Any) -> tuple[Any, Any]:
    """Mean and variance by their names, where there are names, else of a pair."""
    names = {"mean", "var"}
    if isinstance(statistics, Mapping) and set(statistics) == names:
        return statistics["mean"], statistics["var"]
    if isinstance(statistics, tuple) and names <= set(getattr(statistics, "_fields", ())):
        named: Any = statistics
        return named.mean, named.var
    if not isinstance(statistics, (tuple, list)) or len(statistics) != 2:
        raise TypeError(
            f"statistics must be a pair (mean, var); found {type(statistics).__name__}. Pass "
            "state[layer.stats], or statistics=(mean, var)."
        )
    return statistics[0], statistics[1]
