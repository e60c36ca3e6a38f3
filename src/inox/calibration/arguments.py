"""Checks of what is handed to the functions of this folder, made before any work."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from ..nn import BatchNorm, StateKey, modules
from .state_entries import statistics_at

# Shown in messages: how the functions that run a network over data are called.
CALL = "recalibrate(apply, model, state, batches), with apply(model, state, batch) -> state"


def check_exported(model: Any) -> None:
    """Raises where the values of a batch norm have not been taken out of the tree."""
    for node in modules(model):
        if isinstance(node, BatchNorm) and not isinstance(node.stats, StateKey):
            raise ValueError(
                "model holds a batch norm whose 'stats' still hold the values. Call model, state "
                "= inox.nn.export_state(model) once, and use the model that it returns."
            )


def check_state(state: Any, name: str, call: str) -> None:
    """Raises where a state is no mapping."""
    if not isinstance(state, Mapping):
        raise TypeError(
            f"{name} must be a state dictionary, such as inox.nn.export_state returns; found "
            f"{type(state).__name__}. Write {call}."
        )


def check_run(apply: Any, model: Any, state: Any, batches: Any) -> None:
    """Raises where a network can't be run over these batches, or has nothing to be found out."""
    if not callable(apply):
        raise TypeError(f"apply must be a function; found {type(apply).__name__}. Write {CALL}.")
    if has_batch_norm(apply) and not has_batch_norm(model):
        raise TypeError(
            f"apply must be a function that calls the model; found {type(apply).__name__}, which "
            f"holds batch norms, and {type(model).__name__} as model, which has none. Write {CALL}."
        )
    check_state(state, "state", CALL)
    check_exported(model)
    check_batches(batches)
    statistics = [key for key, entry in state.items() if statistics_at(key, entry)]
    if statistics and not has_batch_norm(model):
        raise ValueError(
            f"model holds no batch norm, but state has the statistics of one, "
            f"{str(statistics[0])!r}; found {type(model).__name__} as model. Write {CALL}, with "
            "the model and the state that inox.nn.export_state returned."
        )


def has_batch_norm(tree: Any) -> bool:
    """Whether there is a batch norm in a tree."""
    return any(isinstance(node, BatchNorm) for node in modules(tree))


def check_batches(batches: Any) -> None:
    """Raises where `batches` can't be gone through, or what comes out would be no batches."""
    if isinstance(batches, (Mapping, str, bytes)):
        raise TypeError(
            f"batches must be an iterable of batches; found {type(batches).__name__}, which would "
            "give its keys or characters. Wrap a single batch in a list, [batch]."
        )
    iterable = hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")
    if not iterable or getattr(batches, "shape", None) == ():
        raise TypeError(
            f"batches must be an iterable of batches, a list or generator; found "
            f"{type(batches).__name__}. Wrap a single batch in a list, [batch]."
        )


def check_batch(batch: Any) -> None:
    """Raises where a batch isn't one of arrays, or holds integers that JAX would wrap."""
    for leaf in jax.tree.leaves(batch):
        if isinstance(leaf, jax.Array) or hasattr(leaf, "__jax_array__"):
            continue
        numbers = isinstance(leaf, (np.ndarray, np.generic, bool, int, float, complex))
        array = np.asarray(leaf) if numbers else None
        if array is None or array.dtype.kind in "OSUmM":
            raise TypeError(
                f"batches must be PyTrees of arrays of numbers; found {type(leaf).__name__} in "
                "one. Convert it with numpy.asarray, or leave it out."
            )
        narrow = jax.dtypes.canonicalize_dtype(array.dtype)
        if narrow == array.dtype or array.dtype.kind not in "iu" or not array.size:
            continue
        least, most = int(array.min()), int(array.max())
        if least < np.iinfo(narrow).min or most > np.iinfo(narrow).max:
            raise ValueError(
                f"batches hold integers from {least} to {most} in {array.dtype}, which JAX would "
                f"wrap to {narrow}. Convert them to floating-point numbers, "
                "batch.astype('float32'), or enable jax_enable_x64."
            )


def check_called(layers: Iterable[Any], reached: Collection[Any], *, every: bool = False) -> None:
    """Raises where none of the layers, or not every one, has been given anything in training mode.

    Args:
        layers: The keys of their statistics.
        reached: The keys of those that were reached.
        every: Whether each must be reached, not just one.
    """
    missed = [str(key) for key in layers if key not in reached]
    if missed and (every or not reached):
        raise ValueError(
            f"apply never reached the batch norms {', '.join(missed)}: it did not call them, ran "
            "them in evaluation mode, masked all of their input, or did not return the state that "
            "they returned. Write lambda model, state, batch: model(batch, state)[1], which leaves "
            "the mode alone, and freeze those that are to keep their statistics, with "
            "inox.nn.freeze."
        )
