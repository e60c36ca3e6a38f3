"""A module in two halves: its structure, and its arrays in dicts by path."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from . import serialization

Filter = type | tuple[type, ...] | Callable[[Any], bool]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, repr=False)
class ModuleDefinition:
    """A module without its arrays, as :meth:`Module.partition` gives it.

    Args:
        treedef: The structure.
        paths: The path of each array.

    Example:
        >>> from inox.nn import Module
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
            TypeError: If an argument isn't a dict.
            ValueError: If a path is missing, unknown or given twice.
        """
        given: dict[str, Any] = {}
        for part in arrays:
            if not isinstance(part, Mapping):
                raise TypeError(
                    f"arrays must be dicts from path to array; found {type(part).__name__}. Give "
                    "those that partition returned, static(parameters, rest)."
                )
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


def _data(definition: ModuleDefinition) -> Any:
    tree = jax.tree.unflatten(definition.treedef, definition.paths)
    return [serialization.tree_data(tree), definition.paths]


def _definition(data: Any, children: Sequence[Any]) -> ModuleDefinition:
    tree, paths = data
    return ModuleDefinition(jax.tree.structure(serialization.tree_of(tree)), tuple(paths))


serialization.register(ModuleDefinition, _data, _definition)


def partition(tree: Any, filters: tuple[Filter, ...]) -> tuple[Any, ...]:
    """What :meth:`Module.partition` does, for any tree."""
    tests = [_as_test(f) for f in filters]
    arrays: list[dict[str, Any]] = [{} for _ in range(len(tests) + 1)]
    nodes = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda node: any(test(node) for test in tests)
    )[0]
    for path, node in nodes:
        matches = (index for index, test in enumerate(tests) if test(node))
        part = arrays[next(matches, len(tests))]
        for rest, leaf in jax.tree_util.tree_flatten_with_path(node)[0]:
            part[jax.tree_util.keystr((*path, *rest))] = leaf
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    paths = tuple(jax.tree_util.keystr(path) for path, _ in leaves)
    return ModuleDefinition(treedef, paths), *arrays


def _as_test(condition: Any) -> Callable[[Any], Any]:
    kinds: tuple[Any, ...] = condition if isinstance(condition, tuple) else (condition,)
    if kinds and all(isinstance(kind, type) for kind in kinds):
        return lambda node: isinstance(node, kinds)
    if not callable(condition):
        raise TypeError(
            f"filters must be types, tuples of types, or functions of a node; found {condition!r}. "
            "Write for example partition(nn.Parameter)."
        )
    return condition
