"""Checks of what is handed to the functions of this folder, made before any work."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..functional.arguments import has_axes_of
from ..functional.array_arguments import described
from ..functional.restored import cure_of_restored
from ..functional.scalar_arguments import check_not_negative, concrete, is_python_number
from .stream import Stream

Array = jax.Array
Shape = tuple[int, ...]


def named_leaves(tree: Any, name: str) -> dict[str, Any]:
    """The leaves of a tree by the expressions that give them, all of them floating-point.

    Python's floating-point numbers become arrays; types of arrays stay as they are.
    """
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        where = f"{name}{jax.tree_util.keystr(path)}"
        if type(leaf) is float:
            leaf = jnp.asarray(leaf)
        kind = getattr(leaf, "dtype", None)
        if kind is None or not hasattr(leaf, "shape"):
            raise TypeError(
                f"{where} must be an array of floating-point numbers; found {described(leaf)}. "
                "Make one with jnp.asarray(value, jnp.float32)."
            )
        if not jnp.issubdtype(kind, jnp.floating):
            cure = "Convert it, x.astype(jnp.float32), or leave it out of the tree."
            if jnp.issubdtype(kind, jnp.complexfloating):
                cure = "Give real and imaginary parts apart, as two leaves."
            raise TypeError(f"{where} must be floating-point; found dtype {kind}. {cure}")
        leaves[where] = leaf
    return leaves


def check_stream(stream: Any, name: str) -> dict[str, Shape]:
    """The shape of each leaf's statistics; raises where `stream` is no stream."""
    if not isinstance(stream, Stream):
        cure = cure_of_restored(stream, Stream, name) or (
            "Make one with inox.streaming.init(example)."
        )
        raise TypeError(f"{name} must be a Stream; found {described(stream)}. {cure}")
    first = named_leaves(stream.count, f"{name}.count")
    shapes = [tuple(leaf.shape) for leaf in first.values()]
    for field, tree in zip(stream._fields, stream, strict=True):
        found = [tuple(leaf.shape) for leaf in named_leaves(tree, f"{name}.{field}").values()]
        same = jax.tree.structure(tree) == jax.tree.structure(stream.count)
        if not same or found != shapes:
            raise ValueError(
                f"{name}.{field} must have the structure and shapes of {name}.count, {shapes}; "
                f"found {found}. Save and restore all fields of a stream together."
            )
    return dict(zip(first, shapes, strict=True))


def leaves_as(
    tree: Any, shapes: Mapping[str, Shape], like: Any, name: str, *, exactly: bool = False
) -> dict[str, Array]:
    """The leaves of a tree that has the stream's structure and trailing shapes."""
    if jax.tree.structure(tree) != jax.tree.structure(like):
        raise ValueError(
            f"{name} must have the structure of the stream, {jax.tree.structure(like)}; found "
            f"{jax.tree.structure(tree)}. Make the stream with init(example) of an observation "
            "like these."
        )
    leaves = named_leaves(tree, name)
    for (where, leaf), shape in zip(leaves.items(), shapes.values(), strict=True):
        found = tuple(leaf.shape)
        if found != shape if exactly else found[len(found) - len(shape) :] != shape:
            dots = "" if exactly else "(..., "
            raise ValueError(
                f"{where} must have the shape of the stream's statistics, {shape}"
                f"{'' if exactly else ', behind those of the batch'}; found {found}. "
                + (
                    "Merge streams that init made of one example."
                    if exactly
                    else f"Bring it to {dots}{', '.join(map(str, shape))})."
                )
            )
    return {where: jnp.asarray(leaf) for where, leaf in leaves.items()}


def leading_shape(x: Any, rank: int) -> Shape:
    """The axes of the batch, in front of those of one observation."""
    return tuple(x.shape[: len(x.shape) - rank])


def weights_for(
    weights: Any, leaves: Mapping[str, Array], shapes: Mapping[str, Shape]
) -> Array | None:
    """Weights of the batch's leading shape, not negative as far as can be told."""
    if weights is None:
        return None
    try:
        array = jnp.asarray(weights)
    except (TypeError, ValueError, OverflowError):
        array = None
    real = (jnp.floating, jnp.integer)
    if array is None or not any(jnp.issubdtype(array.dtype, kind) for kind in real):
        raise TypeError(
            f"weights must be an array of real numbers; found {described(weights)}. Give one for "
            "each observation; a choice of observations is a mask, where=."
        )
    for (where, leaf), shape in zip(leaves.items(), shapes.values(), strict=True):
        leading = leading_shape(leaf, len(shape))
        if array.shape != leading:
            raise ValueError(
                f"weights must have a number for each observation, shape {leading} for {where} of "
                f"shape {leaf.shape}; found shape {array.shape}. Use jnp.broadcast_to(weights, "
                f"{leading})."
            )
    numbers = concrete(weights)
    if numbers is not None and not np.all(np.isfinite(numbers)):
        raise ValueError(
            "weights must be finite; found a number that is not. Give 0 to what is not to count."
        )
    check_not_negative(weights, "weights", "Give 0 to what is not to count.")
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    # In the widest dtype that is enabled; rounded to that of each leaf's statistics later. Numbers
    # on the host are converted there, since JAX cuts integers of 64 bits to 32.
    wide = jnp.result_type(float)
    if isinstance(weights, jax.Array):
        return array.astype(wide)
    return jnp.asarray(np.asarray(weights, np.float64).astype(wide))


def masks_for(
    where: Any, batch: Any, leaves: Mapping[str, Array], shapes: Mapping[str, Shape]
) -> list[Array | None]:
    """A mask for each leaf, of whole observations or of elements; None without one."""
    if where is None:
        return [None] * len(leaves)
    if jax.tree.structure(where) == jax.tree.structure(batch):
        masks = jax.tree.leaves(where)
    elif jax.tree.structure(where) == jax.tree.structure(0):
        masks = [where] * len(leaves)
    else:
        raise ValueError(
            "where must be one mask for all leaves or a tree of masks with the structure of batch, "
            f"{jax.tree.structure(batch)}; found {jax.tree.structure(where)}."
            " Give each leaf its mask, or all of them one."
        )
    named = zip(masks, leaves.items(), shapes.values(), strict=True)
    return [_mask(mask, name, leaf, shape) for mask, (name, leaf), shape in named]


def _mask(mask: Any, name: str, leaf: Array, shape: Shape) -> Array:
    kind = getattr(mask, "dtype", np.dtype(type(mask)) if isinstance(mask, bool) else None)
    if kind != jnp.bool_:
        raise TypeError(
            f"where must be boolean; found {described(mask)}. Compare to make one, for example "
            "jnp.isfinite(batch); fractions are weights=."
        )
    array = jnp.asarray(mask)
    leading = leading_shape(leaf, len(shape))
    if array.shape != leading and not has_axes_of(array, leaf):
        raise ValueError(
            f"where of shape {array.shape} does not fit {name} of shape {leaf.shape}. Give it "
            f"shape {leading}, a value for each observation, or {leaf.shape}, one for each number."
        )
    return array


def mask_of(mask: Array, x: Array, rank: int) -> Array:
    """A mask of observations or of elements with the rank of `x`."""
    return mask if mask.ndim == x.ndim else jnp.reshape(mask, mask.shape + (1,) * rank)


def check_count(max_count: Any) -> Array | None:
    """`max_count` as an array; raises where it isn't a positive number."""
    if max_count is None:
        return None
    return _positive(
        max_count, "max_count", "Write how many observations the window has, for example 10000."
    )


def check_clip(clip: Any) -> None:
    """Raises where `clip` isn't a positive number."""
    if clip is not None:
        _positive(clip, "clip", "Write the largest absolute value, for example 10.0, or None.")


def _positive(value: Any, name: str, cure: str) -> Array:
    kind = getattr(value, "dtype", None)
    number = is_python_number(value)
    real = kind is not None and any(jnp.issubdtype(kind, k) for k in (jnp.floating, jnp.integer))
    if not (number or real) or np.shape(value) != ():
        raise TypeError(f"{name} must be a number; found {described(value)}. {cure}")
    known = concrete(value)
    if known is not None and not known > 0:
        raise ValueError(f"{name} must be positive; found {value}. {cure}")
    return jnp.asarray(float(value) if number else value)
