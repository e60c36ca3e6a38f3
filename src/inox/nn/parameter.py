"""What is trained is marked by its type, not by its name."""

from typing import Any

import jax
import jax.numpy as jnp

from .static import is_array
from .wrapper import Wrapper

Array = jax.Array


class Parameter(Wrapper):
    """Marks an array that is trained.

    An array or a number that is assigned to an attribute of a module that holds a parameter takes
    the place of the parameter's value: it still is trained. Delete the attribute first to keep an
    array that is not.

    A parameter belongs to one place of a model. A tree shares nothing: where two layers hold the
    same parameter, or one layer stands at two places, each place takes its own gradient, and
    after an update the two differ without a word (:func:`export_state` warns of it). Hold it once
    and use it from there: call one layer twice, or hand its array to `inox.functional`.

    Args:
        value: An array, or something that `jax.numpy.asarray` takes.

    Raises:
        TypeError: If `value` is no array and can't be made one.

    Example:
        >>> weight = Parameter(jax.numpy.ones((3, 5)))
        >>> weight
        Parameter(float32[3, 5])
        >>> y = jax.numpy.ones((16, 3)) @ weight()
    """

    value: Array

    def __init__(self, value: jax.typing.ArrayLike) -> None:
        try:
            array = None if isinstance(value, (str, bytes)) else jnp.asarray(value)
        except (TypeError, ValueError):
            array = None
        if array is None:
            raise TypeError(
                f"value must be an array; found {type(value).__name__}. Give one, for example "
                "Parameter(jnp.ones(8)), or None in the place of the parameter to leave it out."
            )
        super().__init__(array)

    def __call__(self) -> Array:
        """Gives the value.

        Returns:
            The array.
        """
        return self.value

    def replaced(self, value: Any) -> Any:
        """What stands in the place of this parameter when a value is assigned there.

        Args:
            value: Anything.

        Returns:
            A parameter of the same type around an array or a number; other values as they are.
        """
        if not (is_array(value) or isinstance(value, (bool, int, float, complex))):
            return value
        # A parameter of a mask holds a bool, one of an abstract tree a shape: neither is an array.
        converts = is_array(self.value) and not isinstance(value, jax.ShapeDtypeStruct)
        return self.around(jnp.asarray(value) if converts else value)
