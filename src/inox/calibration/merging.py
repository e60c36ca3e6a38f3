"""Running statistics of several copies of one network, pooled."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..functional.array_arguments import ArrayLike
from ..functional.moments import Moments, merge_moments
from ..nn import Statistics
from ..nn.normalization.containers import like
from ..nn.state import State
from .layers import own_arrays
from .shares import shares
from .state_entries import counts_batches, statistics_at

Array = jax.Array


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
        states: The states, dicts with the same keys. Their statistics may be in any container that
            a layer takes: :class:`.Statistics`, a dict of `mean` and `var`, a list or a tuple.
        counts: For each state, on how many samples it is based, as a number of any unit: rows,
            images, batches of one size. A count of 0 leaves a state out. Numbers outside of
            `jax.jit` may be of any size: their shares are computed in exact arithmetic.

    Returns:
        A new state, with the containers of the first one and arrays of its own.

    Raises:
        TypeError: If a state isn't a dict, its statistics aren't floating-point numbers, or a count
            is no number.
        ValueError: If there is no state, keys or shapes differ, or counts are negative, not finite,
            all 0 or not as many as states.

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
    states = _listed(states)
    weights = shares(counts, len(states))
    first = states[0]
    for state in states:
        if differing := sorted(map(str, set(first) ^ set(state))):
            raise ValueError(
                f"states must have the same keys; {differing[0]!r} is missing from one of them. "
                "Export copies of one model, with the same prefix."
            )
    statistics = {key for key, entry in first.items() if statistics_at(key, entry) is not None}
    found = {key: _alike(key, [state[key] for state in states]) for key in statistics}
    merged: State = {}
    for key, entry in first.items():
        if key in statistics:
            merged[key] = like(entry, _pooled(found[key], weights))
        elif counts_batches(key, statistics):
            merged[key] = _added([state[key] for state in states], weights)
        else:
            merged[key] = own_arrays(_same(str(key), [state[key] for state in states]))
    return like(first, merged)


def _listed(states: Any) -> list[Mapping[str, Any]]:
    single = isinstance(states, (Mapping, str)) or not hasattr(states, "__iter__")
    listed: list[Any] = [states] if single else list(states)
    odd = [states] if single else [state for state in listed if not isinstance(state, Mapping)]
    if odd:
        raise TypeError(
            f"states must be a list of state dictionaries; found {type(odd[0]).__name__}"
            f"{'' if single else ' in it'}. Write merge_states([first, second], "
            "counts=[1000, 500])."
        )
    return listed


def _alike(key: str, entries: Sequence[Any]) -> list[Statistics]:
    """The statistics in the entries of several states, in float32 or float64, of one shape."""
    found = [statistics_at(key, entry) for entry in entries]
    parts = [Statistics(*map(jnp.asarray, entry)) for entry in found if entry is not None]
    shapes = {leaf.shape for part in parts for leaf in part}
    if len(parts) < len(entries) or len(shapes) > 1:
        raise ValueError(
            f"states must hold statistics of one shape at {str(key)!r}; found shapes "
            f"{sorted(shapes)} in entries of type "
            f"{sorted({type(entry).__name__ for entry in entries})}. Export copies of one model."
        )
    kinds = {leaf.dtype for part in parts for leaf in part}
    if odd := [kind for kind in kinds if not jnp.issubdtype(kind, jnp.floating)]:
        raise TypeError(
            f"states must hold statistics in floating-point numbers; found {odd[0]} at "
            f"{str(key)!r}. Convert them, with their fractions, to float32."
        )
    return parts


def _pooled(parts: Sequence[Statistics], weights: Sequence[Any]) -> Statistics:
    """The pooled statistics, computed in at least float32, in the dtypes of the first ones."""
    kinds = {leaf.dtype for part in parts for leaf in part}
    wide = jnp.float64 if jnp.dtype(jnp.float64) in kinds else jnp.float32
    moments: list[Moments] = []
    for part, weight in zip(parts, weights, strict=True):
        mean, var = (leaf.astype(wide) for leaf in part)
        moments.append(Moments(jnp.full_like(mean, jnp.asarray(weight, wide)), mean, var))
    pooled = merge_moments(*moments)
    mean, var = parts[0]
    return Statistics(pooled.mean.astype(mean.dtype), pooled.var.astype(var.dtype))


def _added(entries: Sequence[Any], weights: Sequence[Any]) -> Array:
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
            np.array_equal(_numbers(one), _numbers(two))
            for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True)
        )
        if not same:
            raise ValueError(
                f"states differ at {key!r}, which isn't an entry of a batch norm, so how to merge "
                "it isn't known. Merge it yourself, and leave it out of the states."
            )
    return first


def _numbers(leaf: Any) -> Any:
    """A leaf as something that NumPy can compare: a random key by its numbers."""
    random_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if random_key else leaf
