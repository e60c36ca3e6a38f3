"""Explicit state: what a layer changes lives outside of it.

A layer declares what it will change by wrapping it in a :class:`StateEntry`. Before the model is
used, :func:`export_state` takes the entries out: each is replaced by a :class:`StateKey`, and the
values go into the state, a plain dict. A layer is then a pure function: it reads `state[key]` and
returns a new state, made by :func:`update_state`; nothing is changed in place, so nothing leaks
out of `jax.jit`, `jax.grad` or `jax.lax.scan`.

>>> import jax
>>> tree = {"a": 1, "b": StateEntry(jax.numpy.zeros(2))}
>>> tree, state = export_state(tree)
>>> tree
{'a': 1, 'b': StateKey("['b']")}
>>> print(state[tree["b"]])
[0. 0.]
>>> new = update_state(state, {tree["b"]: state[tree["b"]] + 1})
>>> print(state[tree["b"]], new[tree["b"]])
[0. 0.] [1. 1.]

A key is the path of its entry in the tree, and equal to that string: the keys of a model built
again, in another process, are the same, and a checkpoint of the state is a checkpoint of a dict
of strings.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import jax

from . import serialization
from .parameter import Parameter
from .static import Node, register_static
from .wrapper import Wrapper

State = dict[str, Any]


class StateEntry(Wrapper):
    """Marks a value that calls change, until :func:`export_state` takes it out.

    Args:
        value: An array or a PyTree of arrays: the initial value.

    Example:
        >>> StateEntry(jax.numpy.zeros(2))
        StateEntry(float32[2])
    """


@register_static
class StateKey(str, Node):
    """The key of an entry in the state: a string, the path at which the entry stood.

    In a tree it is part of the structure, so that a model that holds keys can be passed through
    `jax.jit`.

    Example:
        >>> layer, state = export_state({"stats": StateEntry(jax.numpy.ones(3))})
        >>> layer["stats"] == "['stats']"
        True
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"StateKey({str.__repr__(self)})"


serialization.register(StateKey, str, lambda text, _: StateKey(text))


def _is_entry(node: Any) -> bool:
    return isinstance(node, StateEntry)


def _warn_of_sharing(tree: Any) -> None:
    """Warns of a parameter that stands at two places, and is two after the first update."""
    places: dict[int, str] = {}
    for path, node in jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda node: isinstance(node, Parameter)
    ):
        if not isinstance(node, Parameter):
            continue
        place = jax.tree_util.keystr(path)
        if id(node) in places:
            warnings.warn(
                f"one Parameter stands at {places[id(node)]!r} and {place!r}. A tree shares "
                "nothing: each place takes its own gradient, and after an update the two differ. "
                "Keep it at one place and use it from there (call one layer twice, or hand the "
                "array to inox.functional).",
                stacklevel=3,
            )
            return
        places[id(node)] = place


def export_state(tree: Any, *, prefix: str = "") -> tuple[Any, State]:
    """Takes the state entries out of a tree.

    The tree is not changed: a copy is returned in which each entry is replaced by its key. An
    entry that stands in the tree twice, as one object, stays one entry. The arrays are shared with
    the tree that was given: build the model again if you donate the state to a compiled function.

    A :class:`Parameter` that stands in the tree twice does not stay one: it warns of that.

    Args:
        tree: Any PyTree that holds layers: a module, an Equinox module, a list, a dict.
        prefix: A string put in front of each key, to keep the states of two models apart that
            share one dict.

    Returns:
        The tree with keys in place of entries, and the state, a dict from key to value.

    Raises:
        TypeError: If `prefix` isn't a string.
        ValueError: If a key to be made is one that the tree holds already.

    Example:
        >>> from inox.nn import BatchNorm
        >>> layers, state = export_state([BatchNorm(3), BatchNorm(5)])
        >>> list(state)
        [StateKey('[0].stats'), StateKey('[1].stats')]
    """
    if not isinstance(prefix, str):
        raise TypeError(
            f"prefix must be a string; found {prefix!r}. It stands in front of each key: "
            "write for example export_state(model, prefix='teacher')."
        )
    _warn_of_sharing(tree)
    taken = {
        node
        for node in jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, StateKey))
        if isinstance(node, StateKey)
    }
    nodes, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_entry)
    keys: dict[int, StateKey] = {}
    state: State = {}
    leaves: list[Any] = []
    for path, node in nodes:
        if not _is_entry(node):
            leaves.append(node)
            continue
        if id(node) not in keys:
            key = StateKey(prefix + jax.tree_util.keystr(path))
            if key in taken:
                raise ValueError(
                    f"tree holds the key {str(key)!r} of an earlier export already, and an entry "
                    "at that same path would get it again. Export the whole tree at once, or pass "
                    "a prefix, for example export_state(tree, prefix='teacher')."
                )
            keys[id(node)] = key
            state[key] = node.value
        leaves.append(keys[id(node)])
    return jax.tree.unflatten(treedef, leaves), state


def _check_dict(value: Any, name: str, cure: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict; found {type(value).__name__}. {cure}")


def update_state(state: Mapping[str, Any], mutation: Mapping[str, Any]) -> State:
    """Makes a state with some entries replaced; the one given is left as it was.

    Args:
        state: The state.
        mutation: The new values, by key.

    Returns:
        A new dict.

    Raises:
        TypeError: If `state` or `mutation` isn't a dict.
        ValueError: If `mutation` has a key that `state` lacks.

    Example:
        >>> update_state({"a": 1, "b": 2}, {"b": 3})
        {'a': 1, 'b': 3}
    """
    _check_dict(state, "state", "Pass the dict that export_state returned.")
    _check_dict(mutation, "mutation", "Write {layer.stats: new}, the new values by key.")
    if unknown := [key for key in mutation if key not in state]:
        raise ValueError(
            f"mutation has the key {str(unknown[0])!r}, which the state lacks; it has "
            f"{[str(key) for key in state]}. Pass the state that export_state returned with this "
            "model."
        )
    return {**state, **mutation}


def join_states(*states: Mapping[str, Any]) -> State:
    """Joins the states of several models into one dict, refusing to mix them up.

    Args:
        states: States with different keys.

    Returns:
        A new dict with all entries.

    Raises:
        TypeError: If a state isn't a dict.
        ValueError: If two states share a key.

    Example:
        >>> join_states({"a": 1}, {"b": 2})
        {'a': 1, 'b': 2}
    """
    joined: State = {}
    for state in states:
        _check_dict(state, "states", "Give them one by one: join_states(first, second).")
        if shared := [key for key in state if key in joined]:
            raise ValueError(
                f"states share the key {str(shared[0])!r}, so one would overwrite the other. "
                "Export the models together, export_state((first, second)), or give each export "
                "a prefix, export_state(model, prefix='first')."
            )
        joined |= state
    return joined
