"""Along which dimensions arrays vary, by their shapes: what the choice of a view depends on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .kernel import Axes


def varies(shape: Sequence[int]) -> tuple[bool, ...]:
    """For each dimension, whether an array of that shape varies along it."""
    return tuple(n != 1 for n in shape)


def gradient_varies(shape: Sequence[int], shared: Axes) -> tuple[bool, ...]:
    """The same of the gradient of a parameter that is shared along axes of arrays of that shape."""
    return tuple(n != 1 and i - len(shape) not in shared for i, n in enumerate(shape))


def joint_shape(*arrays: Any) -> tuple[int, ...]:
    """The shape of all arrays together: under `vmap` over parameters, x may be the one repeated."""
    return np.broadcast_shapes(*(array.shape for array in arrays))
