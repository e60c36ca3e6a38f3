"""Modules are PyTrees: arrays are leaves, everything else is static configuration.

A module keeps its attributes as it was given them. When JAX takes it apart, the leaves of each
attribute that are not arrays (a number, a string, a function) become part of the structure
(:mod:`.static`). So plain `jax.jit` works: what may change inside a compiled function is a leaf,
what may not is compared when JAX looks up its cache.

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

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax

from .printing import Printable
from .static import Layout, Node, put_together, take_apart

Filter = type | tuple[type, ...] | Callable[[Any], bool]


class Module(Printable, Node):
    """Base class of layers and networks: assign attributes in `__init__`.

    Arrays, parameters, state entries and other modules among the attributes, also inside lists,
    tuples, dicts and other PyTrees, are the children of the tree; everything else is static
    configuration. Under `jax.jit`, static configuration must be hashable.

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

    _layouts: dict[str, Layout]

    def __init__(self, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            setattr(self, name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        self.__dict__.get("_layouts", {}).pop(name, None)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self.__dict__.get("_layouts", {}).pop(name, None)

    def __getstate__(self) -> dict[str, Any]:
        # The layouts hold structures of JAX, which cannot be pickled; they are found again.
        return dict(self.attributes())

    def attributes(self) -> Iterator[tuple[str, Any]]:
        """Goes through the attributes in the order of their names.

        Returns:
            An iterator over names and values.
        """
        return ((name, self.__dict__[name]) for name in sorted(self.__dict__) if name != "_layouts")

    def printed_children(self) -> list[tuple[str, Any]]:
        """The attributes, as `name=value`.

        Returns:
            Pairs of the text `name=` and the value.
        """
        return [(f"{name}=", value) for name, value in self.attributes()]

    def train(self, mode: bool = True) -> None:
        """Switches the module and all modules in it to training or evaluation, in place.

        It reaches modules inside lists, dicts and any other PyTree. Batch norms that
        :func:`freeze` has frozen stay in evaluation mode.

        Args:
            mode: True for training, False for evaluation.

        Example:
            >>> network = Module(layers=[Module(training=True), Module()])
            >>> network.train(False)
            >>> network
            Module(layers=[Module(training=False), Module()])
        """
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
        tests = [_as_test(f) for f in filters]
        arrays: list[dict[str, Any]] = [{} for _ in range(len(tests) + 1)]
        nodes = jax.tree_util.tree_flatten_with_path(
            self, is_leaf=lambda node: any(test(node) for test in tests)
        )[0]
        for path, node in nodes:
            matches = (index for index, test in enumerate(tests) if test(node))
            part = arrays[next(matches, len(tests))]
            for rest, leaf in jax.tree_util.tree_flatten_with_path(node)[0]:
                part[jax.tree_util.keystr((*path, *rest))] = leaf
        leaves, treedef = jax.tree_util.tree_flatten_with_path(self)
        paths = tuple(jax.tree_util.keystr(path) for path, _ in leaves)
        return ModuleDefinition(treedef, paths), *arrays


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, repr=False)
class ModuleDefinition:
    """A module without its arrays, as :meth:`Module.partition` gives it.

    Args:
        treedef: The structure.
        paths: The path of each array.

    Example:
        >>> static, arrays = Module(a=jax.numpy.ones(2)).partition()
        >>> static(arrays)
        Module(a=float32[2])
    """

    treedef: Any
    paths: tuple[str, ...]

    def __call__(self, *arrays: dict[str, Any]) -> Any:
        """Puts the module together.

        Args:
            arrays: Dicts from path to array that together hold every array once.

        Returns:
            A new module.

        Raises:
            ValueError: If a path is missing, unknown or given twice.
        """
        given: dict[str, Any] = {}
        for part in arrays:
            if twice := sorted(given.keys() & part.keys()):
                raise ValueError(f"arrays hold {twice[0]!r} twice; give each path in one dict.")
            given |= part
        if missing := [path for path in self.paths if path not in given]:
            raise ValueError(
                f"arrays lack {missing[0]!r} ({len(missing)} of {len(self.paths)} missing). Give "
                "all the dicts that partition returned."
            )
        if unknown := sorted(given.keys() - set(self.paths)):
            raise ValueError(
                f"arrays hold {unknown[0]!r}, which this module lacks. Its paths are "
                f"{list(self.paths)}."
            )
        return jax.tree.unflatten(self.treedef, [given[path] for path in self.paths])

    def __repr__(self) -> str:
        return f"ModuleDefinition({jax.tree.unflatten(self.treedef, self.paths)!r})"


def _as_test(condition: Filter) -> Callable[[Any], bool]:
    if isinstance(condition, (type, tuple)):
        kinds = condition
        return lambda node: isinstance(node, kinds)
    return condition


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
        node = waiting.pop(0)
        if isinstance(node, Module):
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            waiting = [value for _, value in node.attributes()] + waiting
        else:
            found = jax.tree.leaves(node, is_leaf=lambda v: isinstance(v, Module))
            waiting = [v for v in found if isinstance(v, Module)] + waiting


def _register(cls: type) -> None:
    def flatten_with_keys(module: Module) -> tuple[list[tuple[Any, Any]], Any]:
        children, structure = flatten(module)
        keys = [jax.tree_util.GetAttrKey(name) for name, _ in structure]
        return list(zip(keys, children, strict=True)), structure

    def flatten(module: Module) -> tuple[list[Any], tuple[tuple[str, Layout], ...]]:
        layouts = module.__dict__.get("_layouts", {})
        names, children = [], []
        for name, value in module.attributes():
            layout, child = take_apart(value, layouts.get(name))
            names.append((name, layout))
            children.append(child)
        return children, tuple(names)

    def unflatten(structure: tuple[tuple[str, Layout], ...], children: Any) -> Module:
        module = object.__new__(cls)
        for (name, _), child in zip(structure, children, strict=True):
            object.__setattr__(module, name, put_together(child))
        object.__setattr__(module, "_layouts", dict(structure))
        return module

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


_register(Module)
