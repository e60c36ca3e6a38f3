"""Modules are PyTrees: arrays are leaves, everything else is static configuration.

A module keeps its attributes as it was given them. Which of them are children of the tree and
which are static is decided when they are set (:mod:`.structure`). So plain `jax.jit` works: what
may change inside a compiled function is a leaf, what may not is compared when JAX looks up its
cache (:mod:`.static` tells how).

>>> import jax
>>> from inox.nn import Parameter
>>> class Linear(Module):
...     def __init__(self, key, inputs, outputs, activation=jax.nn.relu):
...         self.weight = Parameter(jax.random.normal(key, (inputs, outputs)))
...         self.activation = activation
...
...     def __call__(self, x):
...         return self.activation(x @ self.weight())
>>> linear = Linear(jax.random.key(0), 3, 5)
>>> linear
Linear(activation=<relu>, weight=Parameter(float32[3, 5]))
>>> y = jax.jit(lambda linear, x: linear(x))(linear, jax.numpy.ones(3))
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from . import serialization
from .parameter import Parameter
from .partition import Filter, partition
from .printing import Printable
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


class Module(Printable, Node):
    """Base class of layers and networks: assign attributes in `__init__`.

    Arrays, parameters, state entries and other modules among the attributes, also inside lists,
    tuples, dicts and other PyTrees, are the children of the tree; everything else is static
    configuration. Under `jax.jit`, static configuration must be hashable.

    Args:
        kwargs: Attributes to set, for a module without a class of its own.

    Example:
        >>> from inox.nn import Parameter
        >>> module = Module(scale=Parameter(jax.numpy.ones(4)), name="gain", rate=0.1)
        >>> module
        Module(name='gain', rate=0.1, scale=Parameter(float32[4]))
        >>> jax.tree.map(jax.numpy.shape, jax.tree.leaves(module))
        [(4,)]
    """

    __slots__ = ("__dict__", "__weakref__", "_inox_kinds", "_inox_structure")

    _inox_kinds: dict[str, Kind | Container]  # what each attribute is, where assignments told it
    _inox_structure: Structure | None  # None after an assignment, until it is needed

    def __init__(self, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            setattr(self, name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
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
        return dict(self.attributes()), kinds

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):  # of a class that writes its own __getstate__
            for name, value in state.items():
                setattr(self, name, value)
            return
        attributes, kinds = state
        vars(self).update(attributes)
        for name, kind in kinds.items():
            if not isinstance(kind, Kind):
                static, treedef = jax.tree.flatten(kind)
                kind = Container(treedef, tuple(static))
            _decide(self, name, kind)

    def attributes(self) -> Iterator[tuple[str, Any]]:
        """Goes through the attributes in the order of their names.

        Returns:
            An iterator over names and values.
        """
        return ((name, self.__dict__[name]) for name in sorted(_kinds(self)))

    def printed_children(self) -> list[tuple[str, Any]]:
        """The attributes, as `name=value`.

        Returns:
            Pairs of the text `name=` and the value.
        """
        return [(f"{name}=", value) for name, value in self.attributes()]

    def train(self, mode: bool = True) -> None:
        """Switches the module and all modules in it to training or evaluation, in place.

        It reaches modules inside lists, dicts and any other PyTree. Batch norms that
        :func:`freeze` has frozen stay in evaluation mode.

        The mode is part of the tree's structure, so a module that is an argument of a compiled
        function is compiled once for each mode. Two things don't follow it, and want the mode
        given at the call, `layer(x, state, training=False)`, in place of a switch:

        - What has closed over the module: `step = jax.jit(layer)` keeps the mode of its first
          call. Hand the module over, `jax.jit(lambda layer, x, state: layer(x, state))`.
        - Another tree with the structure that this one had (an average of the weights, the state
          of an optimiser): JAX refuses to map over the two. Switch it too, with :func:`train`.

        Args:
            mode: True for training, False for evaluation.

        Raises:
            TypeError: If `mode` isn't a bool.

        Example:
            >>> network = Module(layers=[Module(training=True), Module()])
            >>> network.train(False)
            >>> network
            Module(layers=[Module(training=False), Module()])
        """
        mode = checked_mode(mode)
        for module in modules(self):
            module._set_mode(mode)

    def _set_mode(self, mode: bool) -> None:
        """What :meth:`train` does to this module alone."""
        if hasattr(self, "training"):
            self.training = mode

    def partition(self, *filters: Filter) -> tuple[Any, ...]:
        """Splits the module into its structure and its arrays.

        Each array goes into the dict of the filter that its outermost matching ancestor
        satisfies (the first such filter); the last dict takes the rest.

        Args:
            filters: Types, or functions of a node that return a bool.

        Returns:
            A function that puts the module together again, `static(*arrays) -> module`, and one
            dict from path to array for each filter, and one for the rest.

        Example:
            >>> from inox.nn import Parameter
            >>> module = Module(layers=[Module(scale=Parameter(jax.numpy.ones(4)))])
            >>> static, parameters, rest = module.partition(Parameter)
            >>> list(parameters), rest
            (['.layers[0].scale.value'], {})
            >>> static(parameters, rest)
            Module(layers=[Module(scale=Parameter(float32[4]))])
        """
        return partition(self, filters)


def checked_mode(mode: Any) -> bool:
    """`mode` as a bool; an error where it is another thing."""
    if not isinstance(mode, (bool, np.bool_)):
        raise TypeError(
            f"mode must be True for training or False for evaluation; found {mode!r}. For "
            "evaluation write train(False); pass bool(mode) to switch by a number."
        )
    return bool(mode)


def modules(tree: Any) -> Iterator[Module]:
    """Goes through the modules of any PyTree, outermost first, each object once.

    Args:
        tree: A module, or any PyTree that holds modules.

    Returns:
        An iterator over the modules themselves, not copies.

    Example:
        >>> [type(module).__name__ for module in modules({"a": [Module(b=Module())]})]
        ['Module', 'Module']
    """
    seen: set[int] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, Module):
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            waiting = [value for _, value in node.attributes()] + waiting
        else:
            found = jax.tree.leaves(node, is_leaf=lambda v: isinstance(v, Module))
            waiting = [v for v in found if isinstance(v, Module)] + waiting


_structure_slot: Any = Module.__dict__["_inox_structure"]
_kinds_slot: Any = Module.__dict__["_inox_kinds"]


def _read(slot: Any, module: Module) -> Any:
    """What a slot holds, None while it is empty; a `__getattr__` of a subclass isn't asked."""
    try:
        return slot.__get__(module)
    except AttributeError:
        return None


def _kinds(module: Module) -> dict[str, Kind | Container]:
    """What each attribute is; of what was written past assignment, the fields of a dataclass."""
    kinds: dict[str, Kind | Container] | None = _read(_kinds_slot, module)
    if kinds is None:  # JAX has made the module, or nothing has been assigned
        structure: Structure | None = _read(_structure_slot, module)
        kinds = {} if structure is None else structure.kinds()
    attributes = module.__dict__
    found = {name: kind for name, kind in kinds.items() if name in attributes}
    for name in getattr(type(module), "__dataclass_fields__", ()):  # a frozen one assigns nothing
        if name in attributes and name not in found:
            found[name] = kind_of(attributes[name])
    return found


def _decide(module: Module, name: str, kind: Kind | Container | None) -> None:
    """Notes what an attribute is; None for one that is gone."""
    kinds: dict[str, Kind | Container] | None = _read(_kinds_slot, module)
    if kinds is None:
        kinds = _kinds(module)
        _kinds_slot.__set__(module, kinds)
    if kind is None:
        kinds.pop(name, None)
    else:
        kinds[name] = kind
    _structure_slot.__set__(module, None)


def _structure(module: Module) -> Structure:
    """The structure of a module as it is now."""
    structure: Structure | None = _read(_structure_slot, module)
    attributes, kinds = module.__dict__, _read(_kinds_slot, module)
    if structure is not None and structure.fits(attributes, kinds):
        return structure
    kinds = _kinds(module)
    structure = structure_of(attributes, kinds)
    for name, container in structure.containers.items():
        if kinds[name] != container:  # changed in place: its items are looked at from now on
            kinds[name] = Kind.CONTAINER
    _kinds_slot.__set__(module, kinds)
    _structure_slot.__set__(module, structure)
    return structure


def _register(cls: type) -> None:
    """Makes a PyTree of a class of modules."""
    new, get_structure, set_structure = (
        object.__new__,
        _structure_slot.__get__,
        _structure_slot.__set__,
    )

    def flatten(module: Module) -> tuple[tuple[Any, ...], Structure]:
        try:
            structure = get_structure(module)
            if structure is None or structure.containers:
                structure = _structure(module)
            children = structure.pick(module.__dict__)
        except (AttributeError, KeyError):  # nothing was ever assigned, or deleted past assignment
            _structure_slot.__set__(module, None)
            structure = _structure(module)
            children = structure.pick(module.__dict__)
        return structure.wrapped(children) if structure.mixed else children, structure

    def flatten_with_keys(module: Module) -> tuple[list[tuple[Any, Any]], Structure]:
        children, structure = flatten(module)
        return list(zip(structure.keys, children, strict=True)), structure

    def unflatten(structure: Structure, children: Any) -> Module:
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


_register(Module)
