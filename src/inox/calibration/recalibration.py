"""The statistics of a whole data set in the place of the running ones."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import all_leaves

from ..functional.scalar_arguments import check_switch
from ..nn import BatchNorm, StateKey, Statistics
from ..nn.normalization.containers import like
from ..nn.normalization.entries import replaced
from ..nn.normalization.pooled_moments import PooledMoments
from ..nn.state import State
from .arguments import check_called, check_run
from .layers import batch_norms, own_arrays
from .passes import Apply, Pass, order_of_calls, pool_once, repeatable


def recalibrate(
    apply: Apply,
    model: Any,
    state: Mapping[str, Any],
    batches: Iterable[Any],
    *,
    progress: bool = True,
    sequential: bool = False,
) -> State:
    r"""Replaces the running statistics by those of a data set.

    .. math:: \hat{\mu} \gets \sum_i \frac{n_i}{n} m_i, \qquad
        \hat{v} \gets \sum_i \frac{n_i}{n} \left( v_i + (m_i - \hat{\mu})^2 \right)

    To be used where the running statistics don't fit the parameters: after averaging weights, or
    on data from elsewhere. One pass over the batches, of which two are in memory at a time. The
    momentum has no part in it, batches of different sizes are weighted by their counts, and the
    mean and the variance are exact to a few units in the last place, however many batches there
    are (:func:`accumulate`).

    In the one pass each batch norm normalizes by the statistics of the batch at hand, so those
    that follow see what they see in training. In evaluation the batch norms before them normalize
    by the statistics of the whole data set, and what they see differs a little: the more, the
    smaller the batches are or the less each resembles the data set. With `sequential` there is one
    pass for each batch norm, in the order in which the network calls them, with all batch norms
    before it in evaluation mode and already recalibrated. The statistics are then exactly those of
    what each layer is given in evaluation mode, for as many passes as there are batch norms.

    Frozen batch norms keep their statistics, and so does a channel that no batch has reached. A
    batch norm of which no channel is reached is an error: `apply` must call it, in training mode,
    and return the state that it returned. Freeze those that are meant to be left out, such as that
    of a head which `apply` doesn't call: `model.head = inox.nn.freeze(model.head)`. The mode that
    batch norms are in plays no part; other modules, dropout for example, stay in theirs. With
    `warmup`, and in batch renorm, the count of batches becomes at least the number of batches.

    Nothing is changed in place. Whatever interrupts the pass, the state handed in is whole.

    Args:
        apply: A function of model, state and one batch that calls the model and returns the state.
            It is compiled in each call, once for each shape of a batch. It leaves the mode alone:
            the batch norms whose moments are pooled are in training mode, all others in evaluation.
        model: Any PyTree that holds layers, exported with :func:`.export_state`.
        state: Its state.
        batches: The data, any iterable: a generator will do. With `sequential`, one that can be
            gone through several times. A batch is a PyTree of arrays.
        progress: Whether a bar by tqdm goes round the batches of each pass, where it is installed.
            False leaves that to whoever gives the batches: `tqdm(batches)` is an iterable, too
            (and starts anew where what it goes round does).
        sequential: Whether there is one pass for each batch norm.

    Returns:
        A new state, in which only the statistics of batch norms differ, in the containers of
            `state` and with arrays of its own.

    Raises:
        TypeError: If `apply` is no function or returns no state, `state` isn't a dict, `batches`
            no iterable of PyTrees of arrays, or `progress` or `sequential` no bool.
        ValueError: If there are no batches, they can't be repeated for `sequential`, hold integers
            that don't fit JAX's, or one element of a channel in all; if the model holds no batch
            norm of the state, `apply` loses a part of the state or leaves out a layer; or if the
            data makes the statistics of a layer without `skip_nonfinite` infinite or NaN.

    Example:
        >>> import jax, inox.nn as nn
        >>> model, state = nn.export_state(nn.BatchNorm(1))
        >>> batches = (jax.numpy.array([[k], [k + 2.0]]) for k in (1.0, 5.0))
        >>> state = recalibrate(lambda model, state, x: model(x, state)[1], model, state, batches)
        >>> print(state[model.stats])
        Statistics(mean=Array([4.], dtype=float32), var=Array([5.], dtype=float32))

    References:
        | Averaging Weights Leads to Wider Optima and Better Generalization (Izmailov et al., 2018)
        | https://arxiv.org/abs/1803.05407
        | Rethinking "Batch" in BatchNorm (Wu & Johnson, 2021)
        | https://arxiv.org/abs/2105.07576
    """
    run = Pass(apply, batches, progress, "recalibrating")
    return recalibrated(run, model, state, sequential)[0]


def recalibrated(
    run: Pass, model: Any, state: Mapping[str, Any], sequential: bool, strict: bool = True
) -> tuple[State, dict[StateKey, PooledMoments]]:
    """The new state, and the moments it was made from, by the key of the statistics.

    With `strict`, each layer must be reached, and its statistics be finite; else one is enough.
    """
    check_run(run.apply, model, state, run.batches)
    check_switch(run.progress, "progress")
    check_switch(sequential, "sequential")
    chosen = {key: layer for key, layer in batch_norms(model).items() if not layer.frozen}
    for layer in chosen.values():
        layer.running_statistics(state)
    # Some mappings are no PyTrees, and could not be handed to a compiled function.
    new: Any = dict(state) if all_leaves([state]) else state
    groups: list[Any] = [list(chosen)] if chosen else []
    if sequential and chosen:
        run = run._replace(batches=repeatable(run.batches))
        if len(chosen) > 1:  # one has no order, and its one pass takes all there is
            groups = [[key] for key in order_of_calls(run, model, new, chosen)]
            check_called(chosen, [key for (key,) in groups], every=strict)
    changed: dict[Any, Any] = {}
    pools: dict[StateKey, PooledMoments] = {}
    for group in groups:
        found, number = pool_once(run, model, new, {key: chosen[key] for key in group})
        pools |= found
        for key, pool in found.items():
            changed |= _replacement(chosen[key], new, pool, number, strict)
        new = replaced(new, changed)
    reached = [key for key, pool in pools.items() if bool((pool.count > 0).any())]
    check_called(chosen, reached, every=strict)
    # What is kept has arrays of its own, too: the result or the state may be donated.
    kept = {key: own_arrays(entry) for key, entry in state.items() if key not in changed}
    return like(replaced(state, changed), kept), pools


def _replacement(
    layer: BatchNorm, state: Mapping[str, Any], pool: PooledMoments, batches: int, strict: bool
) -> dict[Any, Any]:
    """The entries of one layer, made from what was pooled."""
    running = layer.running_statistics(state)
    count, mean, var = pool.moments
    finite = jnp.isfinite(mean) & jnp.isfinite(var)
    if strict and not layer.skip_nonfinite and not bool(finite.all()):
        channels = np.flatnonzero(~np.asarray(finite)).tolist()
        raise ValueError(
            f"batches make the statistics of {str(layer.stats)!r} infinite or NaN in the channels "
            f"{channels}. Leave such samples out, mask them with where, or build the layer with "
            "skip_nonfinite=True, which then keeps the old statistics of these channels."
        )
    # The count may be a sum of weights, which tells nothing of how many there are.
    alone = pool.elements == jnp.ones_like(pool.elements)
    if strict and bool(alone.any()):
        channels = np.flatnonzero(np.asarray(alone)).tolist()
        raise ValueError(
            f"batches hold one element of {str(layer.stats)!r} in the channels {channels}, and one "
            "element has no variance. Give more data."
        )
    seen = (count > 0) & finite
    changed: dict[Any, Any] = {
        layer.stats: Statistics(
            jnp.where(seen, mean, running.mean), jnp.where(seen, var, running.var)
        )
    }
    if isinstance(layer.batches, StateKey):
        old = jnp.asarray(state[layer.batches])
        changed[layer.batches] = jnp.where(
            seen, jnp.maximum(old, jnp.asarray(batches, old.dtype)), old
        )
    return changed
