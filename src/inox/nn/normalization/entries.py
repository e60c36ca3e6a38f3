"""The entries of a state as a layer finds them: read in any container, and checked.

What is wrong with them is said before anything is computed: an entry that is missing or another
model's, numbers that can't be running statistics, a dtype in which they would stand still.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ...functional.array_arguments import floating
from ...functional.moments import Moments
from ..state import State, StateEntry, update_state
from .containers import like, read
from .running import Statistics

Array = jax.Array


def entry(state: Any, key: Any, name: str) -> Any:
    """`state[key]`, or an error that tells what to do."""
    if isinstance(key, StateEntry):
        raise ValueError(
            f"state was not exported from this layer: its '{name}' still holds the values. Call "
            "model, state = inox.nn.export_state(model) once, and use the model that it returns."
        )
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be the dict that inox.nn.export_state returned; found "
            f"{type(state).__name__}. Call model, state = inox.nn.export_state(model)."
        )
    if key not in state:
        raise ValueError(
            f"state lacks the key {str(key)!r} of this layer; it has {[str(k) for k in state]}. "
            "Pass the state that model, state = inox.nn.export_state(model) returned with this "
            "model, or the newest one that a call returned."
        )
    return state[key]


def statistics(found: Any, key: Any, channels: int) -> Statistics:
    """The running statistics in an entry, in whatever container."""
    values = read(found, Statistics)
    shapes = shapes_of(jax.tree.leaves(found) if values is None else values)
    if values is None or shapes != [(channels,)] * 2:
        raise ValueError(
            f"state[{str(key)!r}] must be Statistics(mean, var), arrays of shape ({channels},), "
            f"one value a channel; found {type(found).__name__} with arrays of shapes {shapes}. It "
            "may be the state of another model: export with a prefix, "
            "inox.nn.export_state(model, prefix='first'), to keep two apart."
        )
    for leaf, name in zip(values, Statistics._fields, strict=True):
        _check_floating(leaf, f"state[{str(key)!r}] has a {name}")
    _check_not_negative(values.var, f"state[{str(key)!r}] has a variance")
    return Statistics(*map(jnp.asarray, values))


def shapes_of(leaves: Iterable[Any]) -> list[tuple[int, ...]]:
    """The shapes of arrays; () for anything else."""
    return [getattr(leaf, "shape", ()) for leaf in leaves]


def number_of_batches(found: Any, key: Any, channels: int) -> Array:
    """The number of batches that each channel has seen."""
    if np.shape(found) != (channels,):
        raise ValueError(
            f"state[{str(key)!r}] must count the batches of each channel, an array of shape "
            f"({channels},); found {type(found).__name__} of shape {np.shape(found)}. Pass the "
            "state that inox.nn.export_state returned with this model."
        )
    _check_floating(found, f"state[{str(key)!r}] has a count")
    return jnp.asarray(found)


def check_trainable(arrays: Mapping[Any, Any]) -> None:
    """Raises where an entry of a state, by its key, is of a half type: it would stand still.

    A running average moves by a small share of what it lacks. Rounded to 8 or 11 bits, it stops
    where that share is below half a unit in the last place; so does a count, at 256 or 2048.
    """
    for key, leaves in arrays.items():
        for leaf in leaves:
            if jnp.finfo(leaf.dtype).bits < 32:
                raise TypeError(
                    f"state[{str(key)!r}] is {leaf.dtype}, in which running statistics stand still "
                    "in training: a step is rounded away. Cast the model alone, or the state back: "
                    "state = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), state). In "
                    "evaluation mode a state of a half type may stay."
                )


def checked_moments(moments: Any, channels: int) -> Moments:
    """The moments of a batch that running statistics can be moved by."""
    if not isinstance(moments, Moments):
        raise TypeError(
            f"moments must be Moments(count, mean, var); found {type(moments).__name__}. Take "
            "those of inox.functional.moments or batch_norm, or write "
            "inox.functional.Moments(count, mean, var)."
        )
    shapes = [np.shape(leaf) for leaf in moments]
    if shapes[0] not in ((), (channels,)) or shapes[1:] != [(channels,)] * 2:
        raise ValueError(
            f"moments must have one value a channel, arrays of shape ({channels},) for a layer of "
            f"{channels} channels; found count, mean and var of shapes {shapes}. Reduce all axes "
            "but the last."
        )
    _check_floating(moments.mean, "moments has a mean")
    _check_floating(moments.var, "moments has a variance")
    if not jnp.issubdtype(jnp.result_type(moments.count), jnp.integer):
        _check_floating(moments.count, "moments has a count")
    _check_not_negative(moments.count, "moments has a count")
    _check_not_negative(moments.var, "moments has a variance")
    count, mean, var = map(jnp.asarray, moments)
    return Moments(jnp.broadcast_to(count, mean.shape), mean, var)


def checked_elements(elements: Any, channels: int) -> Array | None:
    """A number of elements for each channel, beside moments whose count is a sum of weights."""
    if elements is None:
        return None
    number = floating(elements, "elements")
    if number.shape not in ((), (channels,)):
        raise ValueError(
            f"elements must be a number, or one a channel of shape ({channels},); found shape "
            f"{number.shape}. Give how many elements have a weight above 0, or leave it out where "
            "the count of moments is that."
        )
    return jnp.broadcast_to(number, (channels,))


def replaced(state: Mapping[str, Any], changes: Mapping[Any, Any]) -> State:
    """A state with some entries replaced, each in its container, and the whole in its own."""
    new = {
        key: value if key not in state else _like(state[key], value)
        for key, value in changes.items()
    }
    return like(state, update_state(state, new))


def _like(found: Any, value: Any) -> Any:
    return like(found, value) if isinstance(value, tuple) else value


def _check_floating(leaf: Any, what: str) -> None:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        raise TypeError(
            f"{what} of dtype {jnp.result_type(leaf)}; it must be a real floating-point number. "
            "Convert it, for example with jnp.asarray(value, jnp.float32)."
        )


def _check_not_negative(leaf: Any, what: str) -> None:
    numbers = at_hand(leaf)
    if numbers is not None and np.any(numbers < 0):
        raise ValueError(
            f"{what} of {numbers.min()}; it must not be negative. The order is mean, then variance."
        )


def at_hand(value: Any) -> np.ndarray | None:
    """The numbers of an array, where looking at them stops no accelerator; else None."""
    if isinstance(value, Tracer):
        return None
    if isinstance(value, jax.Array):
        devices = value.devices()
        if not value.is_fully_addressable or next(iter(devices)).platform != "cpu":
            return None
    return np.asarray(value)
