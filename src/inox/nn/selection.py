"""Choices over whole models, made by type: which mode, which layers, which parameters.

What trains is a :class:`Parameter` and nothing else. An optimizer is told so by a mask, a tree of
bools with the structure of the model; with optax, weight decay on all parameters but the scales
and biases of norms, and no update of an array that is no parameter:

>>> import jax.numpy as jnp
>>> from inox.nn import BatchNorm, Module
>>> model = Module(
...     weight=Parameter(jnp.ones((3, 3))), norm=BatchNorm(3, jnp.float32(1e-5), scale=jnp.ones(3))
... )
>>> trained, norms = is_parameter(model), is_norm_parameter(model)
>>> decayed = jax.tree.map(lambda parameter, norm: parameter and not norm, trained, norms)
>>> fixed = jax.tree.map(lambda parameter: not parameter, trained)
>>> decayed.weight, decayed.norm.scale, decayed.norm.epsilon, fixed.norm.epsilon
(Parameter(True), Parameter(False), False, True)

The optimizer is then `optax.chain(optax.adamw(1e-3, mask=decayed), optax.masked(
optax.set_to_zero(), fixed))`.
"""

from typing import Any, TypeVar

import jax

from .module import checked_mode, modules
from .normalization import BatchNorm, NormalizationLayer
from .parameter import Parameter

Tree = TypeVar("Tree")


def train(tree: Tree, mode: bool = True) -> Tree:
    """Switches every module in a tree to training or evaluation, in place.

    The mode is part of the structure: switch every tree that is mapped together with the model,
    the state of its optimizer too. :meth:`Module.train` tells what else to look out for.

    Args:
        tree: Any PyTree that holds modules: an Equinox or Flax NNX module, a list, a dict, the
            state of an optimizer.
        mode: True for training, False for evaluation.

    Returns:
        The same tree.

    Raises:
        TypeError: If `mode` isn't a bool.

    Example:
        >>> network = train({"norm": BatchNorm(3)}, False)
        >>> network["norm"].training
        False
    """
    mode = checked_mode(mode)
    for module in modules(tree):
        # Public, it would be an attribute of every module beside those that its user gives it.
        module._set_mode(mode)  # pyright: ignore[reportPrivateUsage]
    return tree


def freeze(tree: Tree) -> Tree:
    """Makes a copy whose batch norms stay in evaluation mode.

    They normalize by their running statistics and never change them, whatever `train()` says, as
    one wants for the batch norms of a pretrained network that is fine-tuned on small batches.
    Their scale and bias still take gradients; leave them out of the optimizer to keep them.

    An optimizer that has been started keeps trees with the structure of the model: freeze those
    too, `optimizer_state = freeze(optimizer_state)`.

    Args:
        tree: Any PyTree that holds batch norms: a model, the state of its optimizer.

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


def is_parameter(tree: Tree) -> Tree:
    """Marks what is trained: the arrays inside of a :class:`Parameter`.

    Args:
        tree: Any PyTree that holds modules or parameters.

    Returns:
        A tree of the same structure with True for each array inside of a parameter and False for
        any other: epsilon and momentum given as arrays, entries of the state, arrays that another
        framework's modules hold. A mask for optax: the module's first lines show one.

    Example:
        >>> tree = {"norm": BatchNorm(3, jax.numpy.float32(1e-5), scale=jax.numpy.ones(3))}
        >>> mask = is_parameter(tree)["norm"]
        >>> mask.scale, mask.epsilon
        (Parameter(True), False)
    """

    def mark(node: Any) -> Any:
        return jax.tree.map(lambda _: isinstance(node, Parameter), node)

    return jax.tree.map(mark, tree, is_leaf=lambda node: isinstance(node, Parameter))


def is_norm_parameter(tree: Tree) -> Tree:
    """Marks the scales and biases of normalization layers, by the type of their layer.

    Args:
        tree: Any PyTree that holds layers.

    Returns:
        A tree of the same structure with True for each array that is a parameter of a
        normalization layer and False for any other. For a mask without weight decay on scales and
        biases take :func:`is_parameter` too, `jax.tree.map(lambda parameter, norm: parameter and
        not norm, is_parameter(model), is_norm_parameter(model))`: an epsilon or a momentum given
        as an array is no parameter, and must not decay either.

    Example:
        >>> from inox.nn import LayerNorm
        >>> tree = {"norm": LayerNorm(scale=jax.numpy.ones(3)), "scale": Parameter(1.0)}
        >>> jax.tree.leaves(is_norm_parameter(tree))
        [True, False]
    """

    def mark(node: Any) -> Any:
        inside = isinstance(node, NormalizationLayer)
        return is_parameter(node) if inside else jax.tree.map(lambda _: False, node)

    return jax.tree.map(mark, tree, is_leaf=lambda n: isinstance(n, NormalizationLayer))
