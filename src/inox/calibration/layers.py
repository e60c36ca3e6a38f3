"""The batch norms of a tree, and copies of a tree: in other modes, or with arrays of their own."""

from collections.abc import Collection
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from ..nn import BatchNorm, StateKey, modules

Tree = TypeVar("Tree")


def batch_norms(tree: Any) -> dict[StateKey, BatchNorm]:
    """The batch norms of a tree by the key of their statistics, those without a state left out.

    A layer that stands in the tree twice, or was copied with its key, has one entry.
    """
    found = (node for node in modules(tree) if isinstance(node, BatchNorm))
    return {layer.stats: layer for layer in found if isinstance(layer.stats, StateKey)}


def sharing_copy(tree: Tree) -> Tree:
    """A copy that shares the arrays and nothing else: its modes can be set apart."""
    return jax.tree.map(lambda leaf: leaf, tree)


def pooling_copy(tree: Tree, training: Collection[str]) -> Tree:
    """A copy with these batch norms in training mode, and all others in evaluation mode.

    The others are frozen, so that a call with `training=True` doesn't reach them. Modules that are
    no batch norms, dropout for example, keep the mode they are in.
    """
    copied = sharing_copy(tree)
    for node in modules(copied):
        if isinstance(node, BatchNorm):
            node.frozen = node.frozen or node.stats not in training
            node.training = not node.frozen
    return copied


def own_arrays(tree: Tree) -> Tree:
    """A copy with arrays of its own: it outlives the donation of the tree, and the tree its own."""
    return jax.tree.map(lambda leaf: jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf, tree)
