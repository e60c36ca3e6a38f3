"""A value with a meaning that its type tells: the base of Parameter and StateEntry."""

from typing import Any, Self

import jax

from .printing import Printable
from .static import Node


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
        jax.tree_util.register_pytree_with_keys(
            cls,
            lambda marker: (((jax.tree_util.GetAttrKey("value"), marker.value),), None),
            lambda _, children: cls._wrap(*children),
            lambda marker: ((marker.value,), None),
        )

    @classmethod
    def _wrap(cls, value: Any) -> Self:
        """A marker around anything (a leaf may be None, a bool, a PartitionSpec): no conversion."""
        marker = object.__new__(cls)
        marker.value = value
        return marker
