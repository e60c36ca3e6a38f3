"""What is trained is marked by its type, not by its name."""

import jax
import jax.numpy as jnp

from .wrapper import Wrapper

Array = jax.Array


class Parameter(Wrapper):
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
        super().__init__(jnp.asarray(value))

    def __call__(self) -> Array:
        """Gives the value.

        Returns:
            The array.
        """
        return self.value
