"""A stream with one more batch, and several streams as one."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..functional.arguments import AxisName, bound_names
from ..functional.pairs import Pairs, pool_pairs
from ..kernels.mapped_axes import Names
from .arguments import (
    check_count,
    check_stream,
    leading_shape,
    leaves_as,
    mask_of,
    masks_for,
    weights_for,
)
from .batch_moments import batch_moments, pooled_over_devices
from .stream import Stream

Array = jax.Array


def update(
    stream: Stream,
    batch: Any,
    *,
    weights: Any = None,
    where: Any = None,
    axis_name: AxisName = None,
    max_count: Any = None,
) -> Stream:
    r"""Makes the stream that has seen one more batch.

    .. math:: n' = n + \sum_i w_i, \qquad m' = m + \frac{\sum_i w_i}{n'} (m_b - m), \qquad
        s' = s + s_b + \frac{n \sum_i w_i}{n'} (m_b - m)^2

    with the mean :math:`m_b` of the batch and its sum of squared deviations :math:`s_b`. All three
    are kept in pairs of numbers: counts are exact up to :math:`2^{48}`, the mean is within
    :math:`10^{-6} \sigma + 4 \cdot 10^{-15} k |m|` and the variance within
    :math:`4 \cdot 10^{-6}` of itself after k updates in float32 (of up to :math:`2^{24}`
    observations a device each). What is larger than the mean by :math:`10^{18}` is out of range.

    It is a pure function: as the carry of `jax.lax.scan`, under `jax.vmap` over environments, under
    `jax.jit`, and inside a `jax.shard_map`. Statistics take no gradient.

    Args:
        stream: What was seen so far. It is not changed.
        batch: Observations, a tree like the stream's. Axes of a leaf in front of those of one
            observation are the batch; without any it is one observation. A NaN among them makes
            the mean NaN for good: mask it, `where=jnp.isfinite(batch)`.
        weights: A weight for each observation, not negative and of the batch's leading shape. The
            count is their sum. Observations of weight 0 take no part, whatever they hold. (Under
            `jit`, where they can't be refused, neither do those of negative weight or NaN.)
        where: A boolean mask, for all leaves, or a tree of one for each. With the batch's leading
            shape it is of whole observations, with a leaf's rank of single elements. What is
            masked takes no part, NaN included.
        axis_name: Names of mapped axes (`vmap`, `shard_map`) to pool over, by count; the spread
            between devices counts in. One collective for all leaves of a dtype (two where
            devices times elements exceed 2**14).
        max_count: The most that the count grows to. From there on the past loses what a batch
            brings: an exponential window of this many observations. None forgets nothing.

    Returns:
        A new stream.

    Raises:
        TypeError: If `stream` isn't a stream, or a dtype is not the one described.
        ValueError: If a structure or shape does not fit the stream's, a weight is negative,
            `axis_name` isn't bound or `max_count` isn't positive.

    Example:
        >>> import jax.numpy as jnp, inox.streaming as streaming
        >>> stream = streaming.init(jnp.zeros(()))
        >>> for x in ([1.0, 3.0], [5.0]):
        ...     stream = update(stream, jnp.array(x))
        >>> print(stream.count, stream.mean, stream.var)
        3.0 3.0 2.6666667

    References:
        | Algorithms for Computing the Sample Variance (Chan et al., 1983)
        | https://doi.org/10.1080/00031305.1983.10483115
    """
    shapes = check_stream(stream, "stream")
    leaves = leaves_as(batch, shapes, stream.mean, "batch")
    ranks = tuple(map(len, shapes.values()))
    masks = masks_for(where, batch, leaves, shapes)
    weight = weights_for(weights, leaves, shapes)
    names = bound_names(axis_name)
    most = check_count(max_count)
    return _updated(stream, list(leaves.values()), masks, weight, most, ranks, names)


@functools.partial(jax.jit, static_argnums=(5, 6), inline=True)
def _updated(
    stream: Stream,
    leaves: list[Array],
    masks: list[Array | None],
    weights: Array | None,
    max_count: Array | None,
    ranks: tuple[int, ...],
    names: Names,
) -> Stream:
    """What follows the checks: one program, also outside of the caller's compiled code."""
    parts = []
    for x, where, rank in zip(leaves, masks, ranks, strict=True):
        weight = None
        if weights is not None:
            weight = jnp.reshape(weights, leading_shape(x, rank) + (1,) * rank)
        where = None if where is None else mask_of(where, x, rank)
        if x.ndim == rank:  # one observation
            x, where, weight = (a if a is None else a[None] for a in (x, where, weight))
        parts.append(batch_moments(x, where, weight, rank))
    pooled = pooled_over_devices(parts, names)
    old = _parts_of(stream)
    new = [pool_pairs(a, b, max_count) for a, b in zip(old, pooled, strict=True)]
    return _stream_of(new, stream)


def merge(*streams: Stream) -> Stream:
    r"""Pools several streams into the one that has seen everything.

    .. math:: n = \sum_i n_i, \qquad m = \sum_i \frac{n_i}{n} m_i, \qquad
        s = \sum_i s_i + n_i (m_i - m)^2

    In any order and grouping the result is the same within the bound of :func:`update`. Streams of
    devices or environments that had been one before must not be merged: what they have in common
    would count as often.

    Args:
        streams: Streams of one structure; those of count 0 change nothing.

    Returns:
        A new stream.

    Raises:
        TypeError: If an argument isn't a stream.
        ValueError: If there is none, or their structures or shapes differ.

    Example:
        >>> import jax.numpy as jnp, inox.streaming as streaming
        >>> empty = streaming.init(jnp.zeros(()))
        >>> first, second = (update(empty, x) for x in jnp.array([[1.0, 3.0], [5.0, 7.0]]))
        >>> print(merge(first, second).mean)
        4.0
    """
    if not streams:
        raise ValueError("streams is empty; give at least one, merge(first, second).")
    shapes = check_stream(streams[0], "streams[0]")
    for i, stream in enumerate(streams[1:], 1):
        name = f"streams[{i}]"
        check_stream(stream, name)
        leaves_as(stream.mean, shapes, streams[0].mean, name, exactly=True)
    return _merged(streams)


@functools.partial(jax.jit, inline=True)
def _merged(streams: tuple[Stream, ...]) -> Stream:
    together = _parts_of(streams[0])
    for stream in streams[1:]:
        parts = zip(together, _parts_of(stream), strict=True)
        together = [pool_pairs(a, b) for a, b in parts]
    return _stream_of(together, streams[0])


def _parts_of(stream: Stream) -> list[Pairs]:
    """The moments of each leaf."""
    leaves = zip(*(jax.tree.leaves(field) for field in stream), strict=True)
    return [Pairs((a, b), (c, d), (e, f)) for a, b, c, d, e, f in leaves]


def _stream_of(parts: Sequence[Pairs], like: Stream) -> Stream:
    flat = [jax.tree.leaves(part) for part in parts]
    structure = jax.tree.structure(like.mean)
    return Stream(*(jax.tree.unflatten(structure, field) for field in zip(*flat, strict=True)))
