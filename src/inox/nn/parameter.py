"""What is trained is marked by its type, not by its name."""

from typing import Any

import jax
import jax.numpy as jnp

from .printing import show

Array = jax.Array


@jax.tree_util.register_pytree_with_keys_class
class Parameter:
    """Marks an array that is trained.

    Args:
        value: An array, or something that `jax.numpy.asarray` takes.

    Example:
        >>> weight = Parameter(jax.numpy.ones((3, 5)))
        >>> weight
        Parameter(float32[3, 5])
        >>> y = jax.numpy.ones((16, 3)) @ weight()
    """

    value: Array

    def __init__(self, value: jax.typing.ArrayLike) -> None:
        self.value = jnp.asarray(value)

    def __call__(self) -> Array:
        """Gives the value.

        Returns:
            The array.
        """
        return self.value

    def __repr__(self) -> str:
        return show(self)

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Any]], None]:
        return ((jax.tree_util.GetAttrKey("value"), self.value),), None

    def tree_flatten(self) -> tuple[tuple[Any], None]:
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> "Parameter":
        # A leaf may be anything here (None, a bool, a PartitionSpec): no conversion.
        parameter = object.__new__(cls)
        (parameter.value,) = children
        return parameter
