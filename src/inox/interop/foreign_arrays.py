"""Arrays of other libraries as arrays of our own: NumPy's, or JAX's where they are JAX's."""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def own_array(value: Any, key: str) -> Any:
    """An array of whatever library, copied: what is done to it later is not done to ours.

    Tensors of torch are known by what they can do, so torch is never imported for others. They may
    need gradients, and be on any device.

    Args:
        value: A NumPy array, a JAX array, a tensor of torch, or what NumPy makes an array of.
        key: How the checkpoint calls it, for messages.

    Returns:
        A NumPy array; a JAX array where it was one (it may be a tracer).

    Raises:
        TypeError: If it has no numbers, or none that JAX knows.

    Example:
        >>> own_array([1.0, 2.0], "weight")
        array([1., 2.])
    """
    if isinstance(value, jax.Array):
        return jnp.copy(value)
    try:
        array = _numbers_of_tensor(value) if is_tensor(value) else np.array(value)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise TypeError(
            f"{key} must be an array of numbers; found {type(value).__name__}, which gives none "
            f"({str(error).splitlines()[0]}). Make it a dense array in main memory, of float32 for "
            "example."
        ) from error
    if array.dtype.kind in "OSUmMV" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{key} must be an array of numbers; found {type(value).__name__} of dtype "
            f"{array.dtype}. Give a flat mapping from keys to arrays."
        )
    return array


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of torch, told by its protocol.

    Args:
        value: Anything.

    Returns:
        Whether it is.

    Example:
        >>> is_tensor(np.ones(3))
        False
    """
    return hasattr(type(value), "__torch_function__") and hasattr(value, "detach")


def _numbers_of_tensor(value: Any) -> np.ndarray:
    tensor = value.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":  # NumPy has none: by its bits
        torch = importlib.import_module("torch")  # there, as the tensor is
        return np.array(tensor.view(torch.uint16).numpy()).view(jnp.bfloat16)
    return np.array(tensor.numpy())
