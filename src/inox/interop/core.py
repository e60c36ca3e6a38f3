"""What the layers of all frameworks compute, in the terms that they share.

They tell more than our own layers: reduced axes wherever the framework has them, parameters along
any axes, a mask whose outside is normalized as well (by the statistics of the inside), mapped axes
and groups of their positions. An adapter translates its framework's arguments into an
:class:`Over` and calls one of

- :func:`normalize`: each slice by its own statistics (layer, RMS, group and instance norm);
- :func:`normalize_batch`: the same, with the statistics handed out (batch norm in training);
- :func:`normalize_by`: by given statistics (batch norm in evaluation);
- :func:`moved`: running statistics after a batch, or :func:`storable`: what of a batch goes into
  running statistics that the framework moves itself.

What stands outside of a mask reaches no statistic and no gradient of another position; a NaN or
infinity there counts as 0.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..functional.arguments import AxisName, mask_operand
from ..functional.batch import batch_moments, given_moments, normalized
from ..functional.batch_arguments import Batch, checked_batch, compiled
from ..functional.complex_numbers import normalize_complex
from ..functional.groups import group_norm
from ..functional.moments import Moments, public_moments
from ..functional.norms import row_norm
from ..functional.scalar_arguments import group_count
from ..kernels.arithmetic import accumulator
from ..kernels.explicit_sharding import merge_last_axes, split_last_axis
from ..kernels.mapped_axes import IndexGroups
from ..nn.normalization.running import Statistics, updated

Array = jax.Array


class Over(NamedTuple):
    """Over what a layer normalizes, and how.

    Args:
        axes: The reduced axes, counted from the front or from the end; none for `()`.
        epsilon: What is added to the variance.
        axis_name: Names of mapped axes over which statistics are pooled as well.
        index_groups: Which positions of the one mapped axis are pooled together; None for all.
        centred: Whether the mean is subtracted; False for RMS norm.
        groups: Into how many groups the last axis, one of those reduced, is split; None for none.

    Example:
        >>> x = jnp.array([[1.0, 3.0], [2.0, 6.0]])
        >>> print(normalize(Over((0,), 0.0), x))
        [[-1. -1.]
         [ 1.  1.]]
    """

    axes: tuple[int, ...]
    epsilon: float
    axis_name: AxisName = None
    index_groups: IndexGroups = None
    centred: bool = True
    groups: int | None = None


def grouped_positions(groups: Any) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """Groups of positions of a mapped axis as tuples, and whether each position is there once.

    Args:
        groups: Sequences of positions.

    Returns:
        The groups, and whether they hold 0, 1, … once each and none is empty.

    Example:
        >>> grouped_positions([[0, 2], [1, 3]])
        (((0, 2), (1, 3)), True)
    """
    listed = tuple(tuple(int(position) for position in group) for group in groups)
    positions = sorted(position for group in listed for position in group)
    return listed, all(listed) and positions == list(range(len(positions)))


def along(parameter: Array | None, x: Array, axes: Sequence[int]) -> Array | None:
    """A parameter with the rank of `x`, whose elements lie along `axes` of it in their order.

    Args:
        parameter: The parameter, with as many elements as `x` along the axes; None stays None.
        x: What it is for.
        axes: The axes, counted from the front or from the end.

    Returns:
        The parameter, of size 1 along all other axes.

    Raises:
        ValueError: If it has another number of elements.
    """
    if parameter is None:
        return None
    kept = {axis % x.ndim for axis in axes}
    shape = tuple(length if i in kept else 1 for i, length in enumerate(x.shape))
    if parameter.size != math.prod(shape):
        raise ValueError(
            f"x of shape {x.shape} has {math.prod(shape)} features along axes "
            f"{tuple(sorted(kept))}; the layer's parameters have shape {parameter.shape}. Build "
            "the layer for that number of features, or move the axis of the features."
        )
    return parameter.reshape(shape)


def normalize(
    over: Over,
    x: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Each slice of `x` by its own statistics, scaled and shifted.

    Args:
        over: Over what.
        x: The input, real or complex.
        scale: What it is multiplied by, broadcast from the right; None for 1.
        bias: What is added, broadcast from the right; None for 0.
        mask: Which elements take part in the statistics, with the rank of `x`.

    Returns:
        The output, with the shape and dtype of `x`.
    """
    if mask is not None or over.axis_name is not None or not over.axes or jnp.iscomplexobj(x):
        return normalize_batch(over, x, scale, bias, mask)[0]
    settings: dict[str, Any] = {"axis": over.axes, "epsilon": over.epsilon}
    if over.groups is not None:
        return group_norm(x, over.groups, scale, bias, **settings)
    return row_norm(
        x, scale, bias, where=None, implementation=None, centred=over.centred, **settings
    )


def normalize_batch(
    over: Over,
    x: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    mask: Array | None = None,
) -> tuple[Array, Moments]:
    """As :func:`normalize`, with the statistics.

    Args:
        over: Over what.
        x: The input, real or complex.
        scale: What it is multiplied by, broadcast from the right; None for 1.
        bias: What is added, broadcast from the right; None for 0.
        mask: Which elements take part in the statistics, with the rank of `x`.

    Returns:
        The output, with the shape and dtype of `x`, and its moments, with the axes that remain.
    """
    if over.groups is None:
        if jnp.iscomplexobj(x):
            where = mask_operand(mask, x)
            return normalize_complex(x, scale, bias, axis=over.axes, where=where, **_settings(over))
        batch = _batch(over, x, scale, bias, mask)
        moments = batch_moments(batch)
        return normalized(batch, moments), public_moments(moments, batch.axes)
    x, groups = jnp.asarray(x), group_count(over.groups, x.shape[-1], x.shape)
    within = over._replace(axes=_split_axes(over.axes, x.ndim), groups=None)
    operands = (
        None if array is None else split_last_axis(jnp.atleast_1d(array), groups)
        for array in (scale, bias, mask_operand(mask, x))
    )
    y, moments = normalize_batch(within, split_last_axis(x, groups), *operands)
    return merge_last_axes(y, x), moments


def normalize_by(
    over: Over,
    x: Array,
    mean: Array,
    var: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """`x` by given statistics, scaled and shifted.

    Args:
        over: Over what the statistics were calculated.
        x: The input, real or complex.
        mean: Its mean, with the axes that remain.
        var: Its variance, likewise.
        scale: What it is multiplied by, broadcast from the right; None for 1.
        bias: What is added, broadcast from the right; None for 0.
        mask: Where a NaN or infinity of `x` counts as 0: where it is False.

    Returns:
        The output, with the shape and dtype of `x`.
    """
    over = over._replace(axis_name=None, index_groups=None)
    if jnp.iscomplexobj(x):
        where = mask_operand(mask, x)
        settings = _settings(over)
        given = {"axis": over.axes, "statistics": (mean, var), "where": where}
        return normalize_complex(x, scale, bias, **given, **settings)[0]
    batch = _batch(over, x, scale, bias, mask)
    return normalized(batch, given_moments(batch, (mean, var)), given=True)


def moved(mean: Array, var: Array, moments: Moments, momentum: float) -> tuple[Array, Array]:
    """Running statistics after a batch: momentum times the old plus the rest of the new.

    Of a channel of which the batch has one element the mean moves and the variance stays, as one
    element has none; where nothing takes part both stay.

    Args:
        mean: The running mean; it becomes complex if the batch's is.
        var: The running variance.
        moments: The batch's moments.
        momentum: The weight of the old.

    Returns:
        The new running mean and variance, in the dtypes of the old.
    """
    wide = accumulator(var.dtype)
    if not jnp.iscomplexobj(moments.mean):
        running = Statistics(mean.astype(wide), var.astype(wide))
        new, _ = updated(running, moments, momentum, False, mean_of_one=True)
        return new.mean.astype(mean.dtype), new.var.astype(var.dtype)
    parts = (
        moved(part(mean), var, moments._replace(mean=part(moments.mean)), momentum)
        for part in (jnp.real, jnp.imag)
    )
    (real, new_var), (imaginary, _) = parts
    return jax.lax.complex(real.astype(wide), imaginary.astype(wide)), new_var


@functools.partial(compiled, static_argnames="axes")
def storable(moments: Moments, axes: tuple[int, ...] = ()) -> tuple[Array, Array]:
    """Mean and variance of a batch as running statistics keep them.

    The variance of finite numbers from 1e19 on is no float32, and infinity would stay in an
    average for ever: it counts as half the largest number, which leaves an average room to round.

    Args:
        moments: The batch's moments.
        axes: Where axes of size 1 are put, for frameworks that keep those that are reduced.

    Returns:
        The mean and the variance.
    """
    most = jnp.full_like(moments.var, jnp.finfo(moments.var.dtype).max / 2)
    finite = jnp.isfinite(moments.mean)
    var = jnp.where(finite, jnp.minimum(moments.var, most), moments.var)
    return jnp.expand_dims(moments.mean, axes), jnp.expand_dims(var, axes)


def _batch(
    over: Over, x: Array, scale: Array | None, bias: Array | None, mask: Array | None
) -> Batch:
    return checked_batch(x, scale, bias, axis=over.axes, where=mask, **_settings(over))


def _settings(over: Over) -> dict[str, Any]:
    return {
        "epsilon": over.epsilon,
        "axis_name": over.axis_name,
        "axis_index_groups": over.index_groups,
        "centred": over.centred,
        "whole": True,
    }


def _split_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """The reduced axes once the last of `rank` is split in two, of which the second is reduced."""
    negative = (axis if axis < 0 else axis - rank for axis in axes)
    return tuple(axis if axis == -1 else axis - 1 for axis in negative)
