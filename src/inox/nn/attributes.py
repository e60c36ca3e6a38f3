"""Objects whose attributes are a PyTree: the part of a module that JAX sees.

Each object notes what its attributes are when they are set, or when they are first found if they
were written past assignment, and keeps its structure (:mod:`.structure`) until one is set again.
JAX takes it apart by picking the attributes that are children, and puts it together from them and
the structure, which holds the rest.
"""

import copy
import inspect
import types
from collections.abc import Iterator
from typing import Any

import jax

from . import serialization
from .parameter import Parameter
from .static import Node
from .structure import (
    CHILD_TYPES,
    Container,
    Kind,
    Structure,
    kind_of,
    structure_data,
    structure_from,
    structure_of,
    unwrapped,
)

KINDS, STRUCTURE = "_inox_kinds", "_inox_structure"


class AttributeTree(Node):
    """Base of the modules: every subclass is a PyTree of its attributes."""

    __slots__ = ("__dict__", "__weakref__", "_inox_kinds", "_inox_structure")

    _inox_kinds: dict[str, Kind | Container]  # what each attribute is, where assignments told it
    _inox_structure: Structure | None  # None after an assignment, until it is needed

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if slots := vars(cls).get("__slots__"):
            raise TypeError(
                f"{cls.__name__} has __slots__ {slots!r}, which are no attributes of a tree. Leave "
                "them out, and slots=True of a dataclass."
            )
        _register(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        value = self._converted(name, value)
        object.__setattr__(self, name, value)
        if name in self.__dict__:  # else a property of the class has taken it
            _decide(self, name, kind_of(value))

    def _converted(self, name: str, value: Any) -> Any:
        """What is stored when a value is assigned: an array in a parameter's place becomes one."""
        held = self.__dict__.get(name)
        return held.replaced(value) if isinstance(held, Parameter) else value

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        _decide(self, name, None)

    def __getstate__(self) -> Any:
        # What each attribute is travels with a copy: for a container as itself with a bool in the
        # place of each item, because a structure of JAX can't be pickled.
        kinds = {
            name: jax.tree.unflatten(*kind) if isinstance(kind, Container) else kind
            for name, kind in _kinds(self).items()
        }
        return {**{name: self.__dict__[name] for name in kinds}, KINDS: kinds}

    def __setstate__(self, state: dict[str, Any]) -> None:
        attributes = dict(state)
        kinds = attributes.pop(KINDS, {})  # not there if a class writes its own __getstate__
        for name, value in attributes.items():
            if name not in kinds:
                setattr(self, name, value)
                continue
            self.__dict__[name], kind = value, kinds[name]
            if not isinstance(kind, Kind):
                static, treedef = jax.tree.flatten(kind)
                kind = Container(treedef, tuple(static))
            _decide(self, name, kind)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        for value in jax.tree.leaves(list(self.__dict__.values()), is_leaf=_is_node):
            # A copy of `jax.nn.relu` would be another function.
            if callable(value) and not isinstance(value, (Node, types.MethodType)):
                memo.setdefault(id(value), value)
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def attributes(self) -> Iterator[tuple[str, Any]]:
        """Goes through the attributes in the order of their names.

        Returns:
            An iterator over names and values.
        """
        return ((name, self.__dict__[name]) for name in sorted(_kinds(self)))


def _is_node(value: Any) -> bool:
    return isinstance(value, Node)


def _read(module: AttributeTree, slot: str) -> Any:
    """What a slot holds, None while it is empty; a `__getattr__` of a subclass isn't asked."""
    try:
        return object.__getattribute__(module, slot)
    except AttributeError:
        return None


def _kinds(module: AttributeTree) -> dict[str, Kind | Container]:
    """What each attribute is, also of those written past assignment."""
    kinds: dict[str, Kind | Container] | None = _read(module, KINDS)
    if kinds is None:  # JAX has made the module, or nothing has been assigned
        structure: Structure | None = _read(module, STRUCTURE)
        kinds = {} if structure is None else structure.kinds()
    attributes = module.__dict__
    found = {name: kind for name, kind in kinds.items() if name in attributes}
    for name in attributes.keys() - found.keys():
        if not _belongs_to_class(type(module), name):
            found[name] = kind_of(attributes[name])
    return found


def _belongs_to_class(cls: type, name: str) -> bool:
    """Whether a descriptor of a class keeps something under a name, as a `cached_property` does."""
    descriptor = inspect.getattr_static(cls, name, None)
    return name in (KINDS, STRUCTURE) or (
        hasattr(type(descriptor), "__get__") and not hasattr(type(descriptor), "__set__")
    )


def children_of(module: AttributeTree) -> list[Any]:
    """The attributes in which modules may be, in the order of their names."""
    kinds, attributes = _kinds(module), module.__dict__
    values = (attributes[name] for name in sorted(kinds) if kinds[name] is not Kind.STATIC)
    return [value for value in values if not isinstance(value, Parameter)]


def _decide(module: AttributeTree, name: str, kind: Kind | Container | None) -> None:
    """Notes what an attribute is; None for one that is gone."""
    kinds: dict[str, Kind | Container] | None = _read(module, KINDS)
    if kinds is None:
        kinds = _kinds(module)
        object.__setattr__(module, KINDS, kinds)
    if kind is None:
        kinds.pop(name, None)
    else:
        kinds[name] = kind
    object.__setattr__(module, STRUCTURE, None)


def _structure(module: AttributeTree) -> Structure:
    """The structure of a module as it is now."""
    structure: Structure | None = _read(module, STRUCTURE)
    attributes, kinds = module.__dict__, _read(module, KINDS)
    if (
        structure is not None
        and structure.names <= attributes.keys()
        and all(_belongs_to_class(type(module), n) for n in attributes.keys() - structure.names)
        and structure.fits(attributes, kinds)
    ):
        return structure
    kinds = _kinds(module)
    structure = structure_of(attributes, kinds)
    for name, container in structure.containers.items():
        if kinds[name] != container:  # changed in place: its items are looked at from now on
            kinds[name] = Kind.CONTAINER
    object.__setattr__(module, KINDS, kinds)
    object.__setattr__(module, STRUCTURE, structure)
    return structure


def _register(cls: type[AttributeTree]) -> None:
    """Makes a PyTree of a class of modules."""
    new = object.__new__  # these run for every module at every call of a compiled function
    slot = getattr(cls, STRUCTURE)
    get_structure, set_structure = slot.__get__, slot.__set__

    def flatten(module: AttributeTree) -> tuple[tuple[Any, ...], Structure]:
        try:
            structure, attributes = get_structure(module), module.__dict__
            if structure is None or structure.containers or len(attributes) != structure.size:
                structure = _structure(module)
            children = structure.pick(attributes)
        except (AttributeError, KeyError):  # nothing was ever assigned, or deleted past assignment
            object.__setattr__(module, KINDS, _kinds(module))
            set_structure(module, None)
            structure = _structure(module)
            children = structure.pick(module.__dict__)
        return structure.wrapped(children) if structure.mixed else children, structure

    def flatten_with_keys(module: AttributeTree) -> tuple[list[tuple[Any, Any]], Structure]:
        children, structure = flatten(module)
        return list(zip(structure.keys, children, strict=True)), structure

    def unflatten(structure: Structure, children: Any) -> AttributeTree:
        module = new(cls)
        set_structure(module, structure)
        attributes = module.__dict__
        attributes.update(structure.static)
        attributes.update(zip(structure.children, children, strict=True))
        for name in structure.mixed:
            attributes[name] = unwrapped(attributes[name])
        return module

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    CHILD_TYPES.add(cls)
    serialization.register(
        cls,
        lambda structure: structure_data(structure, cls.__qualname__),
        lambda data, children: unflatten(structure_from(data, children), children),
    )
