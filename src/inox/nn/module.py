"""Modules are PyTrees: arrays are leaves, everything else is static configuration.

A module keeps its attributes as it was given them. Which of them are children of the tree and
which are static is decided when they are set (:mod:`.attributes`). So plain `jax.jit` works: what
may change inside a compiled function is a leaf, what may not is compared when JAX looks up its
cache (:mod:`.static` tells how).

>>> import jax
>>> from inox.nn import Parameter
>>> class Linear(Module):
...     def __init__(self, key, inputs, outputs, activation=jax.nn.relu):
...         self.weight = Parameter(jax.random.normal(key, (inputs, outputs)))
...         self.activation = activation
...
...     def __call__(self, x):
...         return self.activation(x @ self.weight())
>>> linear = Linear(jax.random.key(0), 3, 5)
>>> linear
Linear(activation=<relu>, weight=Parameter(float32[3, 5]))
>>> y = jax.jit(lambda linear, x: linear(x))(linear, jax.numpy.ones(3))
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from .attributes import AttributeTree, children_of
from .partition import Filter, partition
from .printing import Printable


class Module(Printable, AttributeTree):
    """Base class of layers and networks: assign attributes in `__init__`.

    Arrays, parameters, state entries and other modules among the attributes, also inside lists,
    tuples, dicts and other PyTrees, are the children of the tree; everything else is static
    configuration. JAX compares it to tell whether a function is compiled already, and before it
    maps over two modules: values of the same type that are equal are the same, and so are two
    `functools.partial` of equal parts; functions are the same as themselves alone.
    What a `functools.cached_property` keeps is no attribute.

    Args:
        kwargs: Attributes to set, for a module without a class of its own.

    Example:
        >>> from inox.nn import Parameter
        >>> module = Module(scale=Parameter(jax.numpy.ones(4)), name="gain", rate=0.1)
        >>> module
        Module(name='gain', rate=0.1, scale=Parameter(float32[4]))
        >>> jax.tree.map(jax.numpy.shape, jax.tree.leaves(module))
        [(4,)]
    """

    def __init__(self, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            setattr(self, name, value)

    def printed_children(self) -> list[tuple[str, Any]]:
        """The attributes, as `name=value`.

        Returns:
            Pairs of the text `name=` and the value.
        """
        # By the class: an attribute of a module may be called `attributes`.
        return [(f"{name}=", value) for name, value in AttributeTree.attributes(self)]

    def train(self, mode: bool = True) -> None:
        """Switches the module and all modules in it to training or evaluation, in place.

        It reaches modules inside lists, dicts and any other PyTree. Batch norms that
        :func:`freeze` has frozen stay in evaluation mode.

        The mode is part of the tree's structure, so a module that is an argument of a compiled
        function is compiled once for each mode. Two things don't follow it, and want the mode
        given at the call, `layer(x, state, training=False)`, in place of a switch:

        - What has closed over the module: `step = jax.jit(layer)` keeps the mode of its first
          call. Hand the module over, `jax.jit(lambda layer, x, state: layer(x, state))`.
        - Another tree with the structure that this one had (an average of the weights, the state
          of an optimiser): JAX refuses to map over the two. Switch it too, with :func:`train`.

        Args:
            mode: True for training, False for evaluation.

        Raises:
            TypeError: If `mode` isn't a bool.

        Example:
            >>> network = Module(layers=[Module(training=True), Module()])
            >>> network.train(False)
            >>> network
            Module(layers=[Module(training=False), Module()])
        """
        mode = checked_mode(mode)
        for module in modules(self):
            module._set_mode(mode)

    def _set_mode(self, mode: bool) -> None:
        """What :meth:`train` does to this module alone."""
        if hasattr(self, "training"):
            self.training = mode

    def partition(self, *filters: Filter) -> tuple[Any, ...]:
        """Splits the module into its structure and its arrays.

        Each array goes into the dict of the filter that its outermost matching ancestor
        satisfies (the first such filter); the last dict takes the rest.

        Args:
            filters: Types, or functions of a node that return a bool.

        Returns:
            A function that puts the module together again, `static(*arrays) -> module`, and one
            dict from path to array for each filter, and one for the rest.

        Example:
            >>> from inox.nn import Parameter
            >>> module = Module(layers=[Module(scale=Parameter(jax.numpy.ones(4)))])
            >>> static, parameters, rest = module.partition(Parameter)
            >>> list(parameters), rest
            (['.layers[0].scale.value'], {})
            >>> static(parameters, rest)
            Module(layers=[Module(scale=Parameter(float32[4]))])
        """
        return partition(self, filters)


def checked_mode(mode: Any) -> bool:
    """`mode` as a bool; an error where it is another thing."""
    if not isinstance(mode, (bool, np.bool_)):
        raise TypeError(
            f"mode must be True for training or False for evaluation; found {mode!r}. For "
            "evaluation write train(False); pass bool(mode) to switch by a number."
        )
    return bool(mode)


def modules(tree: Any) -> Iterator[Module]:
    """Goes through the modules of any PyTree, outermost first, each object once.

    Args:
        tree: A module, or any PyTree that holds modules.

    Returns:
        An iterator over the modules themselves, not copies.

    Example:
        >>> [type(module).__name__ for module in modules({"a": [Module(b=Module())]})]
        ['Module', 'Module']
    """
    seen: set[int] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Module):
            found = jax.tree.leaves(node, is_leaf=lambda value: isinstance(value, Module))
            waiting += [value for value in reversed(found) if isinstance(value, Module)]
        elif id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += reversed(children_of(node))
