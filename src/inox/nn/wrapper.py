"""A value with a meaning that its type tells: the base of Parameter and StateEntry."""

from typing import Any, Self

import jax

from . import serialization
from .printing import Printable
from .static import Node
from .structure import CHILD_TYPES


class Wrapper(Printable, Node):
    """Wraps a value; in a tree, a node with that value as its one child.

    Args:
        value: The value.
    """

    value: Any

    def __init__(self, value: Any) -> None:
        self.value = value

    def printed_children(self) -> list[tuple[str, Any]]:
        """The value, without a name."""
        return [("", self.value)]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        key, new = jax.tree_util.GetAttrKey("value"), object.__new__

        def unflatten(_: None, children: Any) -> Any:
            wrapper = new(cls)  # not `around`: this runs for every parameter of every new tree
            (wrapper.value,) = children
            return wrapper

        jax.tree_util.register_pytree_with_keys(
            cls,
            lambda wrapper: (((key, wrapper.value),), None),
            unflatten,
            lambda wrapper: ((wrapper.value,), None),
        )
        CHILD_TYPES.add(cls)
        serialization.register(cls, lambda _: None, lambda _, children: cls.around(*children))

    @classmethod
    def around(cls, value: Any) -> Self:
        """A wrapper of anything, without conversion: None, a bool, a placeholder, as in a mask."""
        wrapper = object.__new__(cls)
        wrapper.value = value
        return wrapper
