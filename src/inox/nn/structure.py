"""The structure of a module: which attributes are children of the tree, and which are static.

What an attribute is is decided when it is set, by what it holds then: an array, a parameter or
another module is a child, a number or a function is static, and a container (a list, a dict, any
PyTree) is a child whose items are told apart in the same way whenever JAX takes the module apart,
since it can be changed in place. What a descriptor of the class keeps under its own name, as a
`functools.cached_property` does, is no attribute: neither child nor static.

A module that JAX puts together has the structure of the one that it took apart, whatever the
leaves hold now: a tree of booleans or of None with the structure of a module is no other tree.

The structure is an object of its own, :class:`Structure`. Equal ones of plain configuration are one
object, so that JAX, which compares them at every call of a compiled function, sees at once that
they are equal.
"""

import enum
import itertools
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import jax
import numpy as np
from jax.core import Tracer

from . import serialization
from .static import Node, Static, comparable, is_array, is_plain


class Kind(enum.Enum):
    """What an attribute is, where no container is remembered."""

    STATIC = enum.auto()
    CHILD = enum.auto()
    CONTAINER = enum.auto()


class Container(NamedTuple):
    """The items of a container: its structure, and which of them are static."""

    treedef: Any
    static: tuple[bool, ...]

    def items(self, value: Any) -> list[Any] | None:
        """The items of a container that has this structure still, whatever they hold; else None."""
        try:
            items: list[Any] = self.treedef.flatten_up_to(value)
        except ValueError:
            return None
        # An array or a module in the place of a static item makes it another container.
        static = itertools.compress(items, self.static)
        return items if all(all(inspect(item).static) for item in static) else None

    def wrapped(self, value: Any, name: str) -> Any:
        """The container at an attribute as a child of the tree: its static items wrapped."""
        items = self.treedef.flatten_up_to(value)
        wrapped = [Static(v, name) if s else v for s, v in zip(self.static, items, strict=True)]
        return jax.tree.unflatten(self.treedef, wrapped)


def unwrapped(child: Any) -> Any:
    """A container as it was, from the child that stands for it in a tree."""
    return jax.tree.map(
        lambda value: value.value if isinstance(value, Static) else value,
        child,
        is_leaf=lambda value: isinstance(value, (Static, Node)),
    )


def inspect(value: Any) -> Container:
    """Tells the items of a container apart by what they hold."""
    # None counts as an item, and so as static: JAX sees an empty tree in it, which a function
    # mapped with `is_leaf=lambda v: v is None` (checkpoint libraries do) would fill.
    items, treedef = jax.tree.flatten(value, is_leaf=lambda v: v is None or isinstance(v, Node))
    return Container(treedef, tuple(not (isinstance(v, Node) or is_array(v)) for v in items))


# Types that are children wherever they stand; those of the modules join them.
CHILD_TYPES: set[type] = {np.ndarray, jax.ShapeDtypeStruct}


def _has_no_static_item(value: Any, container: Container) -> bool:
    """Whether it shows at a glance that a container is a given one, without static items."""
    if any(container.static):
        return False
    try:
        items = container.treedef.flatten_up_to(value)
    except ValueError:
        return False
    unknown = set(map(type, items)) - CHILD_TYPES
    for item in items if unknown else ():
        # Whether a tracer is an array depends on what it traces, not on its type.
        if type(item) in unknown and is_array(item) and not isinstance(item, Tracer):
            CHILD_TYPES.add(type(item))
    return unknown <= CHILD_TYPES


def kind_of(value: Any) -> Kind:
    """What an attribute is that has been set to a value."""
    if isinstance(value, Node):
        return Kind.CHILD
    if is_plain(value):
        return Kind.STATIC
    if is_array(value):
        return Kind.CHILD
    return Kind.STATIC if jax.tree_util.all_leaves([value]) else Kind.CONTAINER


class Structure:
    """The structure of a module, as JAX keeps it: all of it but the children.

    Args:
        children: The names of the attributes that are children, in order.
        static: The other attributes, in the order of their names.
        containers: The containers among the children.
    """

    __slots__ = (
        "__weakref__",
        "_key",
        "children",
        "containers",
        "keys",
        "mixed",
        "names",
        "pick",
        "size",
        "static",
    )

    def __init__(
        self,
        children: tuple[str, ...],
        static: Mapping[str, Any],
        containers: Mapping[str, Container],
    ) -> None:
        self.children = children
        self.static = dict(static)
        self.containers = dict(containers)
        self.mixed = tuple(name for name, c in self.containers.items() if any(c.static))
        self.names = frozenset((*children, *self.static))
        self.size = len(self.names)
        self.keys = tuple(map(jax.tree_util.GetAttrKey, children))
        self.pick = _picker(children)
        values = tuple(map(comparable, self.static.values()))
        self._key = children, tuple(self.static), tuple(self.containers.items()), values

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Structure) or self._key[:3] != other._key[:3]:
            return False
        for name, one, two in zip(self.static, self._key[3], other._key[3], strict=True):
            try:
                if one != two:
                    return False
            except Exception as error:
                raise TypeError(
                    f"{name} of a module can't be compared with that of another: {error}. Static "
                    "configuration needs an == that gives a bool; keep arrays in attributes of "
                    "their own."
                ) from error
        return True

    def __hash__(self) -> int:
        try:
            return hash(self._key)
        except TypeError:
            for name, value in zip(self.static, self._key[3], strict=True):
                _check_hashable(name, value)
            raise

    def __repr__(self) -> str:
        static = "".join(f", {name}={value!r}" for name, value in self.static.items())
        return f"Structure(({', '.join(self.children)}){static})"

    def kinds(self) -> dict[str, Kind | Container]:
        """What each attribute is, in a module that has this structure."""
        kinds: dict[str, Kind | Container] = dict.fromkeys(self.static, Kind.STATIC)
        return kinds | dict.fromkeys(self.children, Kind.CHILD) | self.containers

    def fits(self, attributes: Mapping[str, Any], kinds: Mapping[str, Any] | None) -> bool:
        """Whether the containers of a module still are what they were."""
        for name, container in self.containers.items():
            value = attributes.get(name)
            if kinds is None or kinds[name] is not Kind.CONTAINER:
                if container.items(value) is None:
                    return False
            elif not (_has_no_static_item(value, container) or inspect(value) == container):
                return False
        return True

    def wrapped(self, children: tuple[Any, ...]) -> tuple[Any, ...]:
        """The children, with the static items of containers wrapped."""
        return tuple(
            self.containers[name].wrapped(child, name) if name in self.mixed else child
            for name, child in zip(self.children, children, strict=True)
        )


def _check_hashable(name: str, value: Any) -> None:
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"{name} of a module is static configuration and has no hash ({error}). Use a tuple "
            "in place of a list, a frozenset in place of a set, a frozen dataclass."
        ) from None


def _picker(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """A function that takes these items of a dict, as a tuple."""
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda attributes: tuple(attributes[name] for name in names)


# Those that are in use, by what makes them equal.
_KNOWN: WeakValueDictionary[Any, Structure] = WeakValueDictionary()


def structure_of(attributes: Mapping[str, Any], kinds: Mapping[str, Kind | Container]) -> Structure:
    """The structure of a module with these attributes.

    Args:
        attributes: The values by name.
        kinds: What each attribute is.

    Returns:
        The structure; the one object that stands for all that are equal to it, if their static
        values are plain.
    """
    children: list[str] = []
    static: dict[str, Any] = {}
    containers: dict[str, Container] = {}
    for name, kind in sorted(kinds.items(), key=operator.itemgetter(0)):
        if kind is Kind.STATIC:
            static[name] = attributes[name]
            continue
        children.append(name)
        if isinstance(kind, Container):
            still = kind.items(attributes[name]) is not None
            containers[name] = kind if still else inspect(attributes[name])
        elif kind is Kind.CONTAINER:
            containers[name] = inspect(attributes[name])
    return _shared(Structure(tuple(children), static, containers))


def _shared(structure: Structure) -> Structure:
    """The one object that stands for a structure and all that are equal to it.

    A module that JAX puts together gets its static values from there. So they must be such that
    nobody can tell which of two equal ones they are, nor may they hold a module, which would keep
    the structure, and the module with it, for ever.
    """
    if not all(map(_is_interchangeable, structure.static.values())):
        return structure
    # Of this file, but a function: the key is nobody else's business.
    return _KNOWN.setdefault(structure._key, structure)  # pyright: ignore[reportPrivateUsage]


def _is_interchangeable(value: Any) -> bool:
    """Whether equal values are one object, or can't be told apart."""
    if isinstance(value, types.FunctionType):
        return not value.__closure__ and not value.__dict__
    alike = (type, np.dtype, enum.Enum, types.BuiltinFunctionType)
    return is_plain(value) or isinstance(value, alike)


def structure_data(structure: Structure, owner: str) -> Any:
    """A structure as plain data; :func:`structure_from` makes it again."""
    static = {
        name: serialization.plain(value, f"{name} of {owner}")
        for name, value in structure.static.items()
    }
    return {
        "children": structure.children,
        "static": static,
        "containers": list(structure.containers),
    }


def structure_from(data: Any, children: Sequence[Any]) -> Structure:
    """The structure that :func:`structure_data` has written, of a module with these children."""

    def stop(value: Any) -> bool:
        return value is None or isinstance(value, (Static, Node))

    containers: dict[str, Container] = {}
    for name, child in zip(data["children"], children, strict=True):
        if name in data["containers"]:
            items, treedef = jax.tree.flatten(child, is_leaf=stop)
            containers[name] = Container(treedef, tuple(isinstance(v, Static) for v in items))
    static = {name: serialization.static_value(value) for name, value in data["static"].items()}
    return _shared(Structure(tuple(data["children"]), static, containers))
