"""Running statistics of several copies of one network, pooled."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..functional.arguments import ArrayLike, floating
from ..functional.moments import Moments, merge_moments
from ..nn import Statistics
from ..nn.state import State

Array = jax.Array
STATS, BATCHES = ".stats", ".batches"


def merge_states(states: Sequence[Mapping[str, Any]], counts: Sequence[ArrayLike]) -> State:
    r"""Pools the states of copies of one network that have seen different data.

    .. math:: \hat{\mu} = \sum_i w_i \hat{\mu}_i, \qquad
        \hat{v} = \sum_i w_i \left( \hat{v}_i + (\hat{\mu}_i - \hat{\mu})^2 \right), \qquad
        w_i = \frac{n_i}{\sum_j n_j}

    The second term is what an average of the variances leaves out: the copies' means differ. If
    each state holds the exact statistics of its data (:func:`recalibrate`), the result holds those
    of all of it.

    The numbers of batches that layers count (`warmup`, :class:`.BatchRenorm`) are added up: the
    statistics then stand for that many batches, and the next batch is weighted accordingly. Where
    copies are merged again and again, as in federated rounds, this counts their common past once
    for each copy; it matters only as long as the warmup lasts.

    Any other entry must be the same in all states. It works under `jax.jit`, too, if there is no
    such entry.

    Args:
        states: The states, dicts with the same keys.
        counts: For each state, on how many samples it is based, as a number of any unit: rows,
            images, batches of one size. A count of 0 leaves a state out.

    Returns:
        A new state.

    Raises:
        TypeError: If a state isn't a dict.
        ValueError: If there is no state, keys or shapes differ, or counts are negative, all 0 or
            not as many as states.

    Example:
        >>> from inox.nn import Statistics
        >>> state = lambda mean, var: {
        ...     ".norm.stats": Statistics(jnp.array([mean]), jnp.array([var]))
        ... }
        >>> merged = merge_states([state(0.0, 1.0), state(4.0, 1.0)], counts=[3, 1])
        >>> print(merged[".norm.stats"])
        Statistics(mean=Array([1.], dtype=float32), var=Array([4.], dtype=float32))

    References:
        | Communication-Efficient Learning of Deep Networks (McMahan et al., 2017)
        | https://arxiv.org/abs/1602.05629
    """
    states, weights = list(states), _weights(states, counts)
    first = states[0]
    for state in states:
        if not isinstance(state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"states must be state dictionaries; found {type(state).__name__}. Write "
                "merge_states([first, second], counts=[1000, 500])."
            )
        if differing := sorted(map(str, set(first) ^ set(state))):
            raise ValueError(
                f"states must have the same keys; {differing[0]!r} is missing from one of them. "
                "Export copies of one model, with the same prefix."
            )
    statistics = {key for key in first if _statistics(first[key]) is not None}
    for key in statistics:
        _check_shapes(str(key), [state[key] for state in states])
    merged: State = {}
    for key in first:
        entries = [state[key] for state in states]
        if key in statistics:
            merged[key] = _pooled(entries, weights)
        elif key.endswith(BATCHES) and key.removesuffix(BATCHES) + STATS in statistics:
            merged[key] = _added(entries, weights)
        else:
            merged[key] = _same(str(key), entries)
    return merged


def _weights(states: Sequence[Any], counts: Sequence[ArrayLike]) -> list[Array]:
    if not states or len(states) != len(counts):
        raise ValueError(
            f"counts must have one number for each state; found {len(counts)} for {len(states)} "
            "states, of which there must be at least one."
        )
    weights = [floating(count, "counts") for count in counts]
    if shaped := [weight.shape for weight in weights if weight.shape]:
        raise ValueError(
            f"counts must be scalars; found shape {shaped[0]}. Give one number for each state."
        )
    if any(isinstance(weight, Tracer) for weight in weights):
        return weights
    values = np.array([float(weight) for weight in weights])
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise ValueError(
            f"counts must be numbers from 0, and not all 0; found {list(counts)}. They tell on how "
            "many samples each state is based."
        )
    return weights


def _statistics(entry: Any) -> Statistics | None:
    """Running statistics, also as a dict; None for anything else."""
    if isinstance(entry, Mapping) and set(entry) == {"mean", "var"}:
        return Statistics(entry["mean"], entry["var"])
    return entry if isinstance(entry, Statistics) else None


def _check_shapes(key: str, entries: Sequence[Any]) -> None:
    found = [_statistics(entry) for entry in entries]
    shapes = {np.shape(leaf) for entry in found if entry is not None for leaf in entry}
    if None in found or len(shapes) > 1:
        raise ValueError(
            f"states must hold statistics of one shape at {key!r}; found shapes {sorted(shapes)} "
            f"in entries of type {sorted({type(entry).__name__ for entry in entries})}. Export "
            "copies of one model."
        )


def _pooled(entries: Sequence[Any], weights: Sequence[Array]) -> Statistics:
    found = [_statistics(entry) for entry in entries]
    parts = [Statistics(*map(jnp.asarray, entry)) for entry in found if entry is not None]
    pooled = merge_moments(
        *(
            Moments(jnp.full_like(part.mean, weight.astype(part.mean.dtype)), *part)
            for part, weight in zip(parts, weights, strict=True)
        )
    )
    return Statistics(pooled.mean, pooled.var)


def _added(entries: Sequence[Any], weights: Sequence[Array]) -> Array:
    """Numbers of batches, of the states that take part."""
    numbers = [
        jnp.where(weight > 0, number, jnp.zeros_like(number))
        for number, weight in zip(map(jnp.asarray, entries), weights, strict=True)
    ]
    return functools.reduce(jnp.add, numbers)


def _same(key: str, entries: Sequence[Any]) -> Any:
    first, *others = entries
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(entries)):
        raise ValueError(
            f"states hold {key!r}, which isn't an entry of a batch norm, and its values are not "
            "known under jax.jit. Merge it yourself, and leave it out of the states."
        )
    for other in others:
        same = jax.tree.structure(first) == jax.tree.structure(other) and all(
            np.array_equal(one, two)
            for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True)
        )
        if not same:
            raise ValueError(
                f"states differ at {key!r}, which isn't an entry of a batch norm, so how to merge "
                "it isn't known. Merge it yourself, and leave it out of the states."
            )
    return first
