"""Batch norm over microbatches: their moments are pooled, then the running ones move once."""

from collections.abc import Mapping
from typing import Any, TypeVar

from ..nn import BatchNorm
from ..nn.normalization.containers import like, read
from ..nn.normalization.pooled_moments import PooledMoments, pool_in, pooling_key
from ..nn.state import State
from .arguments import check_exported, check_state
from .layers import batch_norms, own_arrays, sharing_copy

Tree = TypeVar("Tree")
POOLING = "pooling, pooled = accumulate(model, state)"
COMMIT = "commit(model, state, pooled), with the states from before and after the microbatches"


def accumulate(model: Tree, state: Mapping[str, Any]) -> tuple[Tree, State]:
    r"""Makes a copy whose batch norms pool the moments of what they see.

    .. math:: n = \sum_i n_i, \qquad m = \sum_i \frac{n_i}{n} m_i, \qquad
        v = \sum_i \frac{n_i}{n} \left( v_i + (m_i - m)^2 \right)

    The state that is returned has one entry more for each batch norm that isn't frozen, its
    :class:`.PooledMoments`, empty at first. A layer that finds this entry adds the moments of each
    batch to it, and leaves the running statistics alone; :func:`commit` then moves them once. So k
    microbatches move the running statistics as the one large batch would have done: the mean
    within 1 ulp of the larger of mean and deviation and the variance within 4 ulp of the exact
    moments in float32, whatever k is.

    What is pooled is what the running statistics are made of, not what normalizes: each microbatch
    is still normalized by its own mean and variance, so outputs and gradients are not those of the
    large batch. Only `axis_name` or a sharded batch change that.

    Whether a layer pools is decided by the state alone, so the copy has the structure of the model:
    a gradient or an optimizer made for one fits the other. A batch norm that is called in
    evaluation mode pools nothing, and :func:`commit` then leaves it as it was. The structure of the
    state does not change from batch to batch: it can be the carry of `jax.lax.scan`. A layer that
    is called several times in one pass pools all its calls.

    The arrays of the state that is returned are its own, so it can be donated to the compiled
    function that takes it from microbatch to microbatch. The copy of the model shares its arrays
    with the model: the microbatches don't change them.

    Args:
        model: Any PyTree that holds layers, exported with :func:`.export_state`.
        state: Its state. It is not changed; pooled moments that it holds are started again.

    Returns:
        A copy of the model, whose mode can be set apart from the original's, and the state to be
        passed through the microbatches, in the containers of `state`.

    Raises:
        TypeError: If `state` isn't a dict.
        ValueError: If the model was not exported, or `state` lacks an entry.

    Example:
        >>> import jax, inox.nn as nn
        >>> model, state = nn.export_state(nn.BatchNorm(2, momentum=0.5))
        >>> x = jax.numpy.arange(12.0).reshape(3, 2, 2)  # three microbatches
        >>> pooling, pooled = accumulate(model, state)
        >>> pooled, _ = jax.lax.scan(lambda pooled, x: pooling(x, pooled)[::-1], pooled, x)
        >>> committed = commit(model, state, pooled)
        >>> _, expected = model(x.reshape(6, 2), state)
        >>> print(committed[model.stats].var, expected[model.stats].var)
        [6.3333335 6.3333335] [6.3333335 6.3333335]

    References:
        | Algorithms for Computing the Sample Variance (Chan et al., 1983)
        | https://doi.org/10.1080/00031305.1983.10483115
    """
    check_exported(model)
    check_state(state, "state", POOLING)
    pools: dict[str, Any] = {}
    for key, layer in batch_norms(model).items():
        running = layer.running_statistics(state)
        # Also in evaluation mode: a single call may be one of training mode.
        if not layer.frozen or pooling_key(key) in state:
            pools[pooling_key(key)] = PooledMoments.empty(running.mean)
    return sharing_copy(model), like(
        state, {key: own_arrays(entry) for key, entry in state.items()} | pools
    )


def commit(model: Any, state: Mapping[str, Any], pooled: Mapping[str, Any]) -> State:
    r"""Moves the running statistics once, by what has been pooled.

    .. math:: \hat{s} \gets \alpha \hat{s} + (1 - \alpha) s_\text{pooled}

    As with any batch, `warmup` counts one batch, `skip_nonfinite` leaves out a channel whose
    pooled moments are not finite (one bad microbatch is enough, as it would be in the large
    batch), and a channel of which nothing was seen stays as it was.

    Args:
        model: The model, or the copy that :func:`accumulate` made; both have the same layers.
        state: The state from before the microbatches, whose statistics are moved.
        pooled: The state that came out of the last microbatch.

    Returns:
        A new state with the entries of `state`, in their containers, and arrays of its own. What
        was not pooled is taken from `pooled`, where the microbatches have changed it: the entries
        of layers that are no batch norms.

    Raises:
        TypeError: If `state` or `pooled` isn't a dict.
        ValueError: If the model was not exported, a state lacks an entry, nothing was pooled for a
            layer in training mode, or `pooled` has what was pooled for another model or for a
            layer that is frozen.

    Example:
        >>> import jax, inox.nn as nn
        >>> model, state = nn.export_state(nn.BatchNorm(1, momentum=0.5))
        >>> pooling, pooled = accumulate(model, state)
        >>> for x in ([[1.0]], [[3.0]], [[8.0]]):
        ...     _, pooled = pooling(jax.numpy.array(x), pooled)
        >>> print(commit(model, state, pooled)[model.stats].mean)  # half of (1 + 3 + 8) / 3
        [2.]
    """
    check_exported(model)
    check_state(state, "state", COMMIT)
    check_state(pooled, "pooled", COMMIT)
    layers = batch_norms(model)
    for layer in layers.values():
        layer.running_statistics(state)
    found = {key: _pool(layer, pooled) for key, layer in layers.items()}
    pools = {key: pool for key, pool in found.items() if pool is not None}
    _check_origin(state, pooled)
    pooling = {pooling_key(key) for key in layers}
    before = {key: entry for key, entry in state.items() if key not in pooling}
    moved = {layers[key].batches for key in pools} | set(pools)  # once, by what was pooled
    committed: State = {
        key: entry if key in moved else own_arrays(pooled[key]) for key, entry in before.items()
    }
    for key, pool in pools.items():
        committed = layers[key].update_running(committed, pool.moments, elements=pool.elements)
    return like(state if len(before) == len(state) else before, committed)


def _pool(layer: BatchNorm, pooled: Mapping[str, Any]) -> PooledMoments | None:
    pool = pool_in(pooled, layer.stats, layer.channels)
    if pool is None and layer.training:
        raise ValueError(
            f"pooled lacks the moments of the batch norm {str(layer.stats)!r}, which is in "
            f"training mode. Make it with {POOLING}, after model.train(), and pass on the state "
            "that the last microbatch returned."
        )
    if pool is not None and layer.frozen:
        raise ValueError(
            f"pooled has moments of the batch norm {str(layer.stats)!r}, which is frozen in "
            "model. Pass the model that accumulate was given, or the copy that it made."
        )
    return pool


def _check_origin(state: Mapping[str, Any], pooled: Mapping[str, Any]) -> None:
    """Raises where `pooled` can't have come out of `state`: it lacks, or pools, other entries."""
    if missing := [key for key in state if key not in pooled]:
        raise ValueError(
            f"pooled lacks {str(missing[0])!r}, which state has; it has {list(map(str, pooled))}. "
            f"Write {COMMIT}, of one model."
        )
    known = {*state, *map(pooling_key, state)}
    for key, entry in pooled.items():
        if key not in known and read(entry, PooledMoments) is not None:
            raise ValueError(
                f"pooled has the moments {str(key)!r} of a batch norm that state lacks: it comes "
                f"from another model. Write {COMMIT}, of one model."
            )
