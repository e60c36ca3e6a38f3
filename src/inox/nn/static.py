"""Which leaves of a module are arrays, and which are static configuration.

When JAX takes a module apart, the leaves of each attribute that are not arrays are wrapped in
:class:`Static`, which JAX sees as part of the structure; put together again, they are unwrapped.

Which leaves are static is decided by looking at them once, for a module that its constructor
built, and remembered by every module that JAX made from it (:class:`Layout`): a tree of booleans
or of None with the structure of a module has that very structure, whatever stands in its leaves.
"""

import dataclasses
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Static:
    """A value that is part of a tree's structure: 2, 2.0 and True make different ones."""

    value: Any

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static) or type(self.value) is not type(other.value):
            return False
        return self.value is other.value or bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


jax.tree_util.register_static(Static)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The structure of an attribute, and which of its leaves are static."""

    treedef: Any
    static: tuple[bool, ...]


class Node:
    """Base of the classes that a layout does not look into: modules, parameters, entries, keys."""


def _is_leaf(value: Any) -> bool:
    # None counts as a leaf, and so as static: JAX sees an empty tree in it, which a function
    # mapped with `is_leaf=lambda v: v is None` (checkpoint libraries do) would fill.
    return value is None or isinstance(value, Node)


def _is_array(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _inspect(value: Any) -> tuple[Layout, list[Any]]:
    leaves, treedef = jax.tree.flatten(value, is_leaf=_is_leaf)
    return Layout(treedef, tuple(not (isinstance(v, Node) or _is_array(v)) for v in leaves)), leaves


def _is_static(value: Any) -> bool:
    return all(_inspect(value)[0].static)


def take_apart(value: Any, layout: Layout | None) -> tuple[Layout, Any]:
    """The layout of an attribute, and the attribute with its static leaves wrapped."""
    leaves: list[Any] = []
    if layout is not None:
        try:
            leaves = layout.treedef.flatten_up_to(value)
        except ValueError:  # a container has been changed since
            layout = None
        else:
            # something with arrays has been put in the place of a static leaf
            if any(s and not _is_static(v) for s, v in zip(layout.static, leaves, strict=True)):
                layout = None
    if layout is None:
        layout, leaves = _inspect(value)
    wrapped = [Static(v) if s else v for s, v in zip(layout.static, leaves, strict=True)]
    return layout, jax.tree.unflatten(layout.treedef, wrapped)


def put_together(child: Any) -> Any:
    """An attribute as it was, from one whose static leaves are wrapped."""

    def stop(value: Any) -> bool:
        return isinstance(value, (Static, Node))

    return jax.tree.map(
        lambda value: value.value if isinstance(value, Static) else value, child, is_leaf=stop
    )
