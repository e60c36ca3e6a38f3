"""Passes of data through a network: exact moments at each batch norm, in constant memory."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ..nn import BatchNorm, StateKey
from ..nn.normalization.containers import like
from ..nn.normalization.pooled_moments import PooledMoments, pooling_key
from ..nn.state import State
from .arguments import check_batch, check_called
from .layers import pooling_copy

Apply = Callable[[Any, State, Any], Mapping[str, Any]]
Layers = Mapping[StateKey, BatchNorm]


class Pass(NamedTuple):
    """What batches have in common: how a network is run, and whether a bar shows it."""

    apply: Apply
    batches: Iterable[Any]
    progress: bool
    description: str

    def shown(self) -> Iterable[Any]:
        """The batches, within a bar by tqdm where it is wanted and installed."""
        if not self.progress:
            return self.batches
        try:
            tqdm = importlib.import_module("tqdm")
        except ImportError:
            return self.batches
        return tqdm.tqdm(self.batches, desc=self.description, unit="batch")


class Recorder:
    """Stands in the place of pooled moments, and notes whose batches it is given.

    It notes while a computation is traced, so that the order of the calls is known without one.
    """

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys

    def including(self, key: str, batch: Any, elements: Any = None) -> "Recorder":
        """Notes the key, the first time that it comes."""
        if key not in self.keys:
            self.keys.append(key)
        return self


jax.tree_util.register_static(Recorder)


class Step:
    """`apply` for a model, compiled: a function of state and batch that gives some entries back.

    Leaves of the model that are no arrays (functions, in an Equinox module) are constants of it.
    """

    def __init__(self, apply: Apply, model: Any, keys: Iterable[str]) -> None:
        leaves, treedef = jax.tree.flatten(model)
        is_array = [isinstance(leaf, (jax.Array, np.ndarray, np.generic)) for leaf in leaves]
        keys = list(keys)
        self.changed: set[str] = set()  # the keys whose entries a trace has seen replaced
        self.arrays = [leaf for leaf, array in zip(leaves, is_array, strict=True) if array]

        @jax.jit
        def run(arrays: list[Any], state: State, batch: Any) -> State:
            waiting = iter(arrays)
            whole = [
                next(waiting) if array else leaf
                for array, leaf in zip(is_array, leaves, strict=True)
            ]
            after = apply(jax.tree.unflatten(treedef, whole), state, batch)
            if not isinstance(after, Mapping):
                raise TypeError(
                    "apply must return the state, a dict; found "
                    f"{type(after).__name__}. Write for example lambda model, state, batch: "
                    "model(batch, state)[1]."
                )
            if lost := [key for key in keys if key not in after]:
                raise ValueError(
                    f"apply must return the whole state; it lacks {str(lost[0])!r}. Pass each call "
                    "the state that the one before returned, and return the last."
                )
            self.changed |= {key for key in keys if after[key] is not state[key]}
            return {key: after[key] for key in keys}

        self.run = run

    def __call__(self, state: State, batch: Any) -> State:
        """The entries after a batch."""
        return self.run(self.arrays, state, batch)


def pool_once(
    run: Pass, model: Any, state: Mapping[str, Any], chosen: Layers
) -> tuple[dict[StateKey, PooledMoments], int]:
    """Pools the moments of the layers `chosen` over all batches; also the number of batches.

    Only they are in training mode. The state is not changed, and neither is the model.
    """
    keys = {key: pooling_key(key) for key in chosen}
    pools: State = {
        keys[key]: PooledMoments.empty(layer.running_statistics(state).mean)
        for key, layer in chosen.items()
    }
    step = Step(run.apply, pooling_copy(model, chosen.keys()), keys.values())
    number = 0
    for batch in run.shown():
        check_batch(batch)
        before, pools = pools, step(like(state, pools), batch)
        if not number:  # before all of the data has gone through for nothing
            check_called(chosen, [key for key in chosen if keys[key] in step.changed])
        # Waiting for the batch before this one keeps at most two in memory.
        jax.block_until_ready(before)
        number += 1
    if not number:
        raise ValueError(
            "batches is empty, so there is nothing to take statistics of. A generator can be gone "
            "through once: make a new one for each call, and with sequential=True give a list, or "
            "an object whose __iter__ starts anew."
        )
    jax.block_until_ready(pools)
    return {key: pools[keys[key]] for key in chosen}, number


def order_of_calls(
    run: Pass, model: Any, state: Mapping[str, Any], chosen: Layers
) -> list[StateKey]:
    """The keys of the layers `chosen` in the order in which the network calls them."""
    batch = next(iter(run.batches), None)
    if batch is None:
        return list(chosen)
    check_batch(batch)
    called: list[str] = []
    recorder: Any = Recorder(called)
    keys = {str(pooling_key(key)): key for key in chosen}
    recording = like(state, dict.fromkeys(map(pooling_key, chosen), recorder))
    step = Step(run.apply, pooling_copy(model, chosen.keys()), map(pooling_key, chosen))
    jax.eval_shape(step, recording, batch)
    return [keys[str(key)] for key in called]


def repeatable(batches: Iterable[Any]) -> Iterator[Any] | Iterable[Any]:
    """`batches`, if they can be gone through more than once."""
    if iter(batches) is batches:
        raise ValueError(
            f"batches must be gone through once for each batch norm with sequential=True; found "
            f"{type(batches).__name__}, which is used up after one pass. Pass a list, or an object "
            "whose __iter__ starts anew."
        )
    return batches
