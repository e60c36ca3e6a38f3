"""The batch norms of a tree, and copies of a tree in which they are in another mode."""

from collections.abc import Collection
from typing import Any, TypeVar

import jax

from ..nn import BatchNorm, StateKey, modules

Tree = TypeVar("Tree")


def batch_norms(tree: Any) -> dict[StateKey, BatchNorm]:
    """The batch norms of a tree by the key of their statistics, those without a state left out.

    A layer that stands in the tree twice, or was copied with its key, has one entry.
    """
    found = (node for node in modules(tree) if isinstance(node, BatchNorm))
    return {layer.stats: layer for layer in found if isinstance(layer.stats, StateKey)}


def check_exported(tree: Any) -> None:
    """Raises where the values of a batch norm have not been taken out of the tree."""
    for node in modules(tree):
        if isinstance(node, BatchNorm) and not isinstance(node.stats, StateKey):
            raise ValueError(
                "model holds a batch norm whose 'stats' still hold the values. Call model, state "
                "= inox.nn.export_state(model) once, and use the model that it returns."
            )


def copy(tree: Tree) -> Tree:
    """A copy that shares the arrays and nothing else: its modes can be set apart."""
    return jax.tree.map(lambda leaf: leaf, tree)


def pooling_copy(tree: Tree, training: Collection[str]) -> Tree:
    """A copy with these batch norms in training mode, and all others in evaluation mode.

    Modules that are no batch norms, dropout for example, keep the mode they are in.
    """
    copied = copy(tree)
    for node in modules(copied):
        if isinstance(node, BatchNorm):
            node.training = node.stats in training and not node.frozen
    return copied
