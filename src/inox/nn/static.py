"""Static values: what stands in a tree and is no array, and when two of them are the same.

A number, a string or a function in a module is part of the structure of its tree. JAX compares
structures before it runs a compiled program and before it maps over two trees, so networks that
are built alike must have equal ones. What equality means for a static value is said here once
(:func:`comparable`):

- Values of different types are different: 2, 2.0 and True. NaN is NaN, and 0.0 is not -0.0.
- Two `functools.partial` are the same where function and arguments are, two bound methods where
  function and object are.
- A function is the same as itself alone: what it reads can change. A lambda in a constructor makes
  another one for each module; a function at the top of a file, or a partial of one, does not.
- What can change inside of these (a list, a dict, an array) is the same as itself alone.
- Anything else is compared by its own `==`.
"""

import functools
import operator
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from . import serialization


class Node:
    """Base of the classes that are looked at whole: modules, parameters, entries and keys."""

    __slots__ = ()


def is_array(value: Any) -> bool:
    """Whether a value is a leaf of a module: an array, or what stands for one."""
    return isinstance(value, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def is_plain(value: Any) -> bool:
    """Whether a value is None, a number, a string, or a tuple of those."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    return type(value) in (types.NoneType, bool, int, float, complex, str, bytes)


class _Itself:
    """Stands for something that is the same as itself alone."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _part(value: Any) -> Any:
    """What stands for a part of a static value: for one that can change, the object itself."""
    found = comparable(value)
    try:
        hash(found)
    except TypeError:
        return _Itself(value)
    return found


def _of_tuple(value: Any) -> Any:
    return tuple(map(comparable, value))


def _of_partial(value: functools.partial[Any]) -> Any:
    keywords = tuple((name, _part(value.keywords[name])) for name in sorted(value.keywords))
    return _part(value.func), tuple(map(_part, value.args)), keywords


def _of_method(value: types.MethodType) -> Any:
    return _part(value.__func__), _part(value.__self__)


def _of_operator(value: Any) -> Any:
    return _part(value.__reduce__())


_COMPARABLE: dict[type, Callable[[Any], Any]] = {
    float: repr,
    complex: repr,
    tuple: _of_tuple,
    functools.partial: _of_partial,
    types.MethodType: _of_method,
    operator.attrgetter: _of_operator,
    operator.itemgetter: _of_operator,
    operator.methodcaller: _of_operator,
}


def comparable(value: Any) -> Any:
    """Something that is equal for two static values exactly where they are the same.

    Args:
        value: A static value.

    Returns:
        A value with `==`, and with a hash unless `value` can change.
    """
    kind = type(value)
    convert = _COMPARABLE.get(kind)
    return kind, (value if convert is None else convert(value))


Kind = TypeVar("Kind", bound=type)


def register_static(cls: Kind) -> Kind:
    """Makes a node without children of a class, as `jax.tree_util.register_static`, in one call."""
    jax.tree_util.register_pytree_with_keys(
        cls, lambda value: ((), value), lambda value, _: value, lambda value: ((), value)
    )
    return cls


@register_static
class Static:
    """A static value among the items of a container, a list for example.

    Args:
        value: The value.
        owner: The name of the attribute that holds the container.
    """

    __slots__ = ("owner", "value")

    def __init__(self, value: Any, owner: str = "") -> None:
        self.value = value
        self.owner = owner

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static):
            return False
        return self.value is other.value or comparable(self.value) == comparable(other.value)

    def __hash__(self) -> int:
        return hash(comparable(self.value))

    def __repr__(self) -> str:
        return f"Static({self.value!r})"


serialization.register(
    Static,
    lambda static: [static.owner, serialization.plain(static.value, f"an item of {static.owner}")],
    lambda data, _: Static(serialization.static_value(data[1]), data[0]),
)
