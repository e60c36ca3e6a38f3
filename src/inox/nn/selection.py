"""Choices over whole models, made by type: which mode, which layers, which parameters."""

from typing import Any, TypeVar

import jax

from .module import modules
from .normalization import BatchNorm, NormalizationLayer
from .parameter import Parameter

Tree = TypeVar("Tree")


def train(tree: Tree, mode: bool = True) -> Tree:
    """Switches every module in a tree to training or evaluation, in place.

    Args:
        tree: Any PyTree that holds modules: an Equinox or Flax NNX module, a list, a dict.
        mode: True for training, False for evaluation.

    Returns:
        The same tree.

    Example:
        >>> network = train({"norm": BatchNorm(3)}, False)
        >>> network["norm"].training
        False
    """
    for module in modules(tree):
        module._set_mode(mode)  # pyright: ignore[reportPrivateUsage]
    return tree


def freeze(tree: Tree) -> Tree:
    """Makes a copy whose batch norms stay in evaluation mode.

    They normalize by their running statistics and never change them, whatever `train()` says, as
    one wants for the batch norms of a pretrained network that is fine-tuned on small batches.
    Their scale and bias still take gradients; leave them out of the optimizer to keep them.

    Args:
        tree: Any PyTree that holds batch norms.

    Returns:
        A copy of the tree; arrays are shared.

    Example:
        >>> layer = freeze(BatchNorm(3))
        >>> layer.train()
        >>> layer.training
        False
    """
    copies: dict[int, BatchNorm] = {}  # a layer that stands in the tree twice stays one layer

    def frozen(node: Any) -> Any:
        if not isinstance(node, BatchNorm):
            return node
        if id(node) not in copies:
            copy = jax.tree.map(lambda leaf: leaf, node)
            copy.frozen, copy.training = True, False
            copies[id(node)] = copy
        return copies[id(node)]

    return jax.tree.map(frozen, tree, is_leaf=lambda node: isinstance(node, BatchNorm))


def is_norm_parameter(tree: Tree) -> Tree:
    """Marks the scales and biases of normalization layers, by the type of their layer.

    Args:
        tree: Any PyTree that holds layers.

    Returns:
        A tree of the same structure with True for each array that is a parameter of a
        normalization layer and False for any other: a mask for optax, for example
        `optax.adamw(1e-3, mask=jax.tree.map(lambda norm: not norm, is_norm_parameter(model)))`
        decays no scale and no bias.

    Example:
        >>> from inox.nn import LayerNorm
        >>> tree = {"norm": LayerNorm(scale=jax.numpy.ones(3)), "scale": Parameter(1.0)}
        >>> jax.tree.leaves(is_norm_parameter(tree))
        [True, False]
    """

    def mark_parameter(node: Any) -> Any:
        return jax.tree.map(lambda _: isinstance(node, Parameter), node)

    def mark_layer(node: Any) -> Any:
        if not isinstance(node, NormalizationLayer):
            return False
        return jax.tree.map(
            mark_parameter, node, is_leaf=lambda child: isinstance(child, Parameter)
        )

    return jax.tree.map(mark_layer, tree, is_leaf=lambda n: isinstance(n, NormalizationLayer))
