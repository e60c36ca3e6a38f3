"""The norms of a built model exchanged for ours."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax

from .batch import BatchNorm
from .library import eqx
from .slices import GroupNorm, LayerNorm, RMSNorm

OURS = {kind.__name__: kind for kind in (BatchNorm, GroupNorm, LayerNorm, RMSNorm)}
OF_WEIGHTS = tuple(getattr(eqx.nn, name) for name in ("SpectralNorm", "WeightNorm"))


def replace(model: Any) -> Any:
    """A copy of a model in which every norm of Equinox's own is ours; prints a line for each.

    Weights, running statistics, `inference` and whatever else the layers hold are kept as they
    are, the keys of the state too: the state that was made with the model goes on with the copy. A
    layer that stands at two places stays one. Subclasses of Equinox's norms are left, as they may
    compute something else; what they contain is not.

    Args:
        model: A model, or any tree that holds some.

    Returns:
        The copy, of the same structure.

    Raises:
        TypeError: If a norm of Equinox's lacks a field, as those of other releases may.

    Example:
        >>> model = eqx.nn.Sequential([eqx.nn.Lambda(jax.nn.relu), eqx.nn.LayerNorm(4)])
        >>> model = replace(model)
        .layers[1]: equinox LayerNorm replaced (shape (4,))
        >>> type(model[1]).__module__
        'inox.interop.equinox.slices'
    """
    lines: list[str] = []
    replaced = _replaced(model, (), lines, {})
    text = "\n".join(lines) or "there is no norm of Equinox's own in this model: nothing replaced"
    print(text)
    return replaced


def _replaced(node: Any, path: tuple[Any, ...], lines: list[str], done: dict[int, Any]) -> Any:
    """The tree below `node`, which is at `path`; `done` holds layers and what stands for them."""
    if (name := _own_norm(node)) is not None:
        if id(node) not in done:  # with the layer itself, so that no other one gets its id
            done[id(node)] = (node, _counterpart(OURS[name], node, path))
        lines.append(f"{_text(path)}: equinox {name} replaced ({_described(node)})")
        return done[id(node)][1]
    if (reason := _reason_to_leave(node)) is not None:
        lines.append(f"{_text(path)}: {type(node).__name__} left, {reason}")
    for name, kind in _static_norms(node):
        lines.append(
            f"{jax.tree_util.keystr(path)}.{name}: {kind} left, as it is in a static field"
        )
    pairs, structure = jax.tree_util.tree_flatten_with_path(
        node, is_leaf=lambda inner: inner is not node and _is_looked_at(inner)
    )
    leaves = [
        _replaced(leaf, (*path, *keys), lines, done) if keys and _is_looked_at(leaf) else leaf
        for keys, leaf in pairs
    ]
    return jax.tree_util.tree_unflatten(structure, leaves)


def _is_looked_at(node: Any) -> bool:
    return isinstance(node, eqx.Module)


def _own_norm(node: Any) -> str | None:
    """The name of a norm that is exactly Equinox's."""
    name = type(node).__name__
    return name if name in OURS and type(node) is getattr(eqx.nn, name) else None


def _reason_to_leave(node: Any) -> str | None:
    for name in OURS:
        if isinstance(node, getattr(eqx.nn, name)):
            return f"a subclass of equinox {name} that may compute something else"
    if isinstance(node, OF_WEIGHTS):
        return "as it normalizes a weight, not what passes through the model"
    return None


def _static_norms(node: Any) -> Iterator[tuple[str, str]]:
    """The static fields of a module that hold a norm, which is no part of the tree."""
    if isinstance(node, eqx.Module):
        for field in dataclasses.fields(node):
            kind = _own_norm(getattr(node, field.name, None))
            if kind is not None and field.metadata.get("static"):
                yield field.name, kind


def _counterpart(kind: type[Any], layer: Any, path: tuple[Any, ...]) -> Any:
    """A layer of ours that holds what `layer` holds: its fields are the same."""
    new = object.__new__(kind)
    for field in dataclasses.fields(kind):
        if not hasattr(layer, field.name):
            raise TypeError(
                f"{_text(path)} is a {kind.__name__} of Equinox {eqx.__version__} without the "
                f"field {field.name!r}. Install equinox>=0.13, for which the classes here are."
            )
        object.__setattr__(new, field.name, getattr(layer, field.name))
    return new


def _described(layer: Any) -> str:
    match layer:
        case eqx.nn.BatchNorm():
            return f"{layer.input_size} channels, mode {layer.mode}"
        case eqx.nn.GroupNorm():
            return f"{layer.groups} groups"
        case _:
            return f"shape {layer.shape}"


def _text(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path) or "model"
