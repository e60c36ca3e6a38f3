"""Checks of what functions of weights take: a kernel, its axes of output channels, a gain."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.kernel import Axes
from .arguments import negative_axes, scale_or_bias
from .array_arguments import ArrayLike, described
from .means import size
from .restored import cure_of_restored
from .scalar_arguments import integer_from

Array = jax.Array


def channel_axes(axis: int | Sequence[int], shape: tuple[int, ...], name: str) -> tuple[Axes, Axes]:
    """The axes of the output channels, and all others, over which a channel is normalized."""
    kept = negative_axes(axis, shape, array=name)
    others = tuple(place for place in range(-len(shape), 0) if place not in kept)
    if not others:
        raise ValueError(
            f"{name} of shape {shape} has no axis but axis={axis!r}, that of its output channels, "
            f"to normalize over. Give a kernel, with shape (*, I, O); `axis` lists what is kept "
            "apart, not what is summed over."
        )
    return kept, others


def gain_operand(
    g: ArrayLike | None, shape: tuple[int, ...], kept: Axes, dtype: jnp.dtype
) -> Array:
    """A gain as an array that broadcasts to a kernel of `shape`, one number a channel."""
    array = scale_or_bias(1.0 if g is None else g, "g")
    assert array is not None
    channels = tuple(shape[place] for place in kept)
    whole = tuple(n if i - len(shape) in kept else 1 for i, n in enumerate(shape))
    if array.shape not in ((), channels, whole):
        raise ValueError(
            f"g must have one value a channel, shape {channels} or {whole}, or be a number; found "
            f"{described(array)}. `axis` tells the axis of the kernel with the output channels."
        )
    whole = whole if array.size == math.prod(channels) and array.ndim else (1,) * len(shape)
    return jnp.reshape(array, whole).astype(dtype)


def number_of_steps(steps: int) -> int:
    """`steps` as a Python integer from 0."""
    return integer_from(0, steps, "steps", 1, "Write 1 while training, and 0 to take none.")


def check_key(key: Any) -> None:
    """Raises where a key of jax.random is something else."""
    kind = getattr(key, "dtype", None)
    typed = kind is not None and jnp.issubdtype(kind, jax.dtypes.prng_key) and key.shape == ()
    raw = kind == jnp.uint32 and len(key.shape) == 1
    if key is not None and not (typed or raw):
        raise TypeError(
            f"key must be one key of jax.random, or None; found {described(key)}. Write "
            "jax.random.key(0), or leave it out for a start that is always the same."
        )


def check_vectors(state: Any, kind: type, shape: tuple[int, ...], axes: tuple[Axes, Axes]) -> None:
    """Raises where a state has no vectors, or others than those of a kernel of `shape`."""
    if not isinstance(state, kind):
        cure = cure_of_restored(state, kind, "state") or (
            "Make one with inox.functional.spectral_state(w), and hand on the one that the last "
            "call returned."
        )
        raise TypeError(f"state must be a {kind.__name__}; found {described(state)}. {cure}")
    for name, along in zip(("inputs", "outputs"), axes, strict=True):
        vector = getattr(state, name)
        found, expected = jnp.shape(vector), (size(shape, along),)
        if found != expected:
            raise ValueError(
                f"state {name} must have shape {expected} for w of shape {shape} with axis="
                f"{axes[1]}; found {found}. Make the state with spectral_state of the same kernel "
                "and axis; where kernels are stacked, map over both with jax.vmap."
            )
