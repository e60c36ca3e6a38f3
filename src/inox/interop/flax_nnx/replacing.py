"""The norms of a built NNX model, made ours in place."""

from typing import Any

from .base import nnx
from .batch import BatchNorm
from .groups import GroupNorm, InstanceNorm
from .rows import LayerNorm, RMSNorm

OURS: dict[type, type] = {
    nnx.BatchNorm: BatchNorm,
    nnx.GroupNorm: GroupNorm,
    nnx.InstanceNorm: InstanceNorm,
    nnx.LayerNorm: LayerNorm,
    nnx.RMSNorm: RMSNorm,
}


def replace(model: Any) -> Any:
    """Makes every normalization layer of a Flax NNX model one of ours, in place.

    A layer of ours has the attributes of Flax', so each stays the object that it was, with its
    parameters, statistics, mode and everything that refers to it, and changes its class alone. A
    subclass that somebody else wrote is left, as we can't know what it changes. Prints a line for
    each.

    Args:
        model: The model: a module, or any tree of modules that NNX walks.

    Returns:
        The model itself.

    Example:
        >>> from flax import nnx
        >>> model = nnx.Sequential(
        ...     nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.RMSNorm(3, rngs=nnx.Rngs(0))
        ... )
        >>> model = replace(model)
        layers.1: RMSNorm replaced
    """
    found = 0
    for path, node in nnx.iter_graph(model):
        place = ".".join(map(str, path)) or "the model"
        if type(node) in OURS:
            node.__class__ = OURS[type(node)]
            print(f"{place}: {type(node).__name__} replaced")
            found += 1
        elif isinstance(node, tuple(OURS)):
            print(f"{place}: {type(node).__name__} left, a subclass of another's")
    if not found:
        print("No normalization layer of Flax was found.")
    return model
