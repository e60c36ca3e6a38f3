"""The arrays of a normalization layer and its state, by name: what a checkpoint is read into.

A checkpoint of another framework holds, for a layer, some arrays under names of its own. What is
asked of them is the same everywhere, and asked here: the layer that is given tells which arrays
there are and in which shapes, no number is rounded, and layer and state are made anew when all is
known to fit, or not at all.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..nn import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, StateKey, Statistics
from ..nn.normalization.base import NormalizationLayer
from ..nn.normalization.containers import read
from ..nn.normalization.entries import at_hand, entry, replaced

KINDS = (BatchNorm, InstanceNorm, LayerNorm, GroupNorm, RMSNorm)  # a subclass before its base
BY_CHANNEL = (BatchNorm, InstanceNorm, GroupNorm)  # one number a channel, in every framework
RUNNING = ("mean", "var")

Layer = TypeVar("Layer", bound=NormalizationLayer)


def kind_of(layer: Any) -> type[NormalizationLayer]:
    """The class of `inox.nn` that a layer belongs to.

    Args:
        layer: A layer.

    Returns:
        The class.

    Raises:
        TypeError: If it is no normalization layer.

    Example:
        >>> kind_of(InstanceNorm()).__name__
        'InstanceNorm'
    """
    for kind in KINDS:
        if isinstance(layer, kind):
            return kind
    raise TypeError(
        f"layer must be a BatchNorm, LayerNorm, GroupNorm, InstanceNorm or RMSNorm of inox.nn; "
        f"found {type(layer).__name__}. Go through the layers of a model one by one, each with "
        "the prefix of its own keys."
    )


def arrays_of(layer: Any, state: Any) -> dict[str, Any]:
    """What a layer and its state hold, whether arrays or, of an abstract one, their shapes.

    Args:
        layer: A normalization layer, its state exported.
        state: The state; layers without running statistics don't look at it.

    Returns:
        `scale` and `bias` where the layer has them; `mean` and `var` of a batch norm, and
        `batches` where it counts them: in this order.

    Raises:
        TypeError: If `layer` is no normalization layer, holds no arrays, or `state` is no dict.
        ValueError: If `state` lacks the layer's entry or it isn't one of this layer.

    Example:
        >>> from inox.nn import export_state
        >>> list(arrays_of(*export_state(BatchNorm(3, scale=jnp.ones(3)))))
        ['scale', 'mean', 'var']
    """
    kind_of(layer)
    found: dict[str, Any] = {}
    for name in ("scale", "bias"):
        if (parameter := getattr(layer, name)) is not None:
            found[name] = parameter.value
    if isinstance(layer, BatchNorm):
        running = entry(state, layer.stats, "stats")
        statistics = read(running, Statistics)
        if statistics is None:
            raise ValueError(
                f"state[{str(layer.stats)!r}] must be Statistics(mean, var); found "
                f"{type(running).__name__}. Pass the state that inox.nn.export_state returned "
                "with this model."
            )
        found |= statistics._asdict()
        if layer.batches is not None:
            found["batches"] = entry(state, layer.batches, "batches")
    for name, held in found.items():
        if not (hasattr(held, "shape") and hasattr(held, "dtype")):
            raise TypeError(
                f"layer and state must hold arrays; found {held!r} in the place of {name}. A mask "
                "or a tree of shardings can't be filled: give the model itself."
            )
        shape = (layer.channels,) if isinstance(layer, BatchNorm) else ()
        if name in (*RUNNING, "batches") and held.shape != shape:
            raise ValueError(
                f"state must have one {name} a channel, an array of shape {shape}; found shape "
                f"{held.shape}. Load a layer before its copies are stacked or mapped, and pass "
                "the state that inox.nn.export_state returned with this model."
            )
    return found


def fitting(name: str, key: str, value: Any, held: Any, layer: NormalizationLayer) -> Any:
    """An array of a checkpoint in the shape and dtype that the layer's own has.

    Running statistics become float32 at least.

    Args:
        name: What it is, as in `arrays_of`.
        key: How the checkpoint calls it, for messages.
        value: A NumPy or JAX array.
        held: What the layer holds now.
        layer: The layer.

    Returns:
        The array.

    Raises:
        TypeError: If it holds no floating-point numbers, or such that the layer's dtype would
            round.
        ValueError: If its shape is another, or a variance negative.

    Example:
        >>> layer = LayerNorm(scale=jnp.ones(2))
        >>> value = np.array([1.0, 2.0], np.float16)
        >>> print(fitting("scale", "weight", value, layer.scale.value, layer))
        [1. 2.]
    """
    if name == "batches":
        return _count(key, value, held)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"{key} must hold real floating-point numbers; found {value.dtype}. A quantized "
            "checkpoint has to be converted back before it is loaded."
        )
    by_channel = isinstance(layer, BY_CHANNEL)
    broadcast = (1,) * (len(held.shape) - 1) + value.shape
    if held.shape != value.shape and not (by_channel and held.shape == broadcast):
        raise ValueError(
            f"{key} must have the shape of the layer's {name}, {held.shape}; found {value.shape}. "
            + _cure(name, value.shape, held.shape)
        )
    dtype = _wide(held.dtype) if name in RUNNING else jax.dtypes.canonicalize_dtype(held.dtype)
    if not _holds(dtype, value.dtype):
        after = " after jax.config.update('jax_enable_x64', True)"
        raise TypeError(
            f"{key} is {value.dtype}, and the layer's {name} {dtype}, which would round it. "
            f"Convert it to {dtype} first if that is what you want, or build the layer in "
            f"{value.dtype}{after if value.dtype == np.float64 else ''}."
        )
    numbers = at_hand(value)
    if name == "var" and numbers is not None and np.any(numbers < 0):
        raise ValueError(
            f"{key} has a variance of {numbers.min()}; it must not be negative. The order is "
            "mean, then variance."
        )
    # Widened by NumPy, where it is NumPy's: XLA may take the smallest numbers for 0.
    return _placed(jnp.asarray(value.astype(dtype)).reshape(held.shape), held)


def _wide(dtype: Any) -> Any:
    """The dtype in which a state moves on: float32 at least."""
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return dtype if jnp.finfo(dtype).bits >= 32 else np.dtype(np.float32)


def _holds(dtype: Any, found: Any) -> bool:
    """Whether every number of dtype `found` is one of `dtype`."""
    big, small = jnp.finfo(dtype), jnp.finfo(found)
    return big.nmant >= small.nmant and big.maxexp >= small.maxexp and big.minexp <= small.minexp


def _cure(name: str, shape: tuple[int, ...], held: tuple[int, ...]) -> str:
    if len(held) == 1 and max(shape, default=1) == math.prod(shape) == held[0]:
        return f"They are as many: reshape what the checkpoint has to {held}."
    other = "or give the prefix of the layer that this one stands for"
    if name in RUNNING:
        return f"Build the layer with channels={shape[-1] if shape else 1}, {other}."
    return f"Build the layer with {name}=jnp.ones({shape}), {other}."


def _count(key: str, value: Any, held: Any) -> Any:
    """A number of batches for each channel: beyond 2**24 as float32 rounds it."""
    if value.shape != () or not (
        jnp.issubdtype(value.dtype, jnp.integer) or jnp.issubdtype(value.dtype, jnp.floating)
    ):
        raise ValueError(
            f"{key} must be one number of batches, an integer of shape (); found {value.dtype} of "
            f"shape {value.shape}."
        )
    dtype = _wide(held.dtype)
    number = at_hand(value)
    if number is not None and not (number >= 0 and number == np.floor(number)):
        raise ValueError(f"{key} must be a number of batches, 0 or more; found {number}.")
    return _placed(jnp.broadcast_to(jnp.asarray(value).astype(dtype), held.shape), held)


def _placed(array: Any, held: Any) -> Any:
    """An array where the one is whose place it takes, if that was put somewhere on purpose."""
    if isinstance(held, Tracer):
        return array
    if isinstance(held, jax.Array):
        return jax.device_put(array, held.sharding) if held.committed else array
    sharding = getattr(held, "sharding", None)
    return array if sharding is None else jax.device_put(array, sharding)


def filled(layer: Layer, state: Any, arrays: Mapping[str, Any]) -> tuple[Layer, Any]:
    """A layer and a state with these arrays; those given stay as they are.

    Args:
        layer: A normalization layer.
        state: Its state.
        arrays: Arrays that fit, by the names of `arrays_of`.

    Returns:
        The new layer and the new state, in its containers.

    Example:
        >>> layer, _ = filled(LayerNorm(scale=jnp.ones(2)), {}, {"scale": jnp.arange(2.0)})
        >>> print(layer.scale.value)
        [0. 1.]
    """
    new = jax.tree.map(lambda leaf: leaf, layer)
    for name in ("scale", "bias"):
        if name in arrays:
            setattr(new, name, arrays[name])
    if not isinstance(layer, BatchNorm):
        return new, state
    assert isinstance(layer.stats, StateKey)
    changes: dict[Any, Any] = {layer.stats: Statistics(arrays["mean"], arrays["var"])}
    if "batches" in arrays:
        changes[layer.batches] = arrays["batches"]
    return new, replaced(state, changes)


def numbers_of(layer: Any, state: Any) -> dict[str, np.ndarray]:
    """What a layer and its state hold, as NumPy arrays of their own in other frameworks' shapes.

    Args:
        layer: A normalization layer, its state exported.
        state: Its state.

    Returns:
        The arrays, by the names of `arrays_of`. The number of batches is an integer, that of the
        channel that has seen most.

    Raises:
        TypeError: If they have no numbers yet: tracers, or shapes alone.
        ValueError: If a scale or bias has not one number a channel, where the others have that.

    Example:
        >>> numbers_of(LayerNorm(scale=jnp.ones(2)), {})
        {'scale': array([1., 1.], dtype=float32)}
    """
    found: dict[str, np.ndarray] = {}
    for name, held in arrays_of(layer, state).items():
        if isinstance(held, (Tracer, jax.ShapeDtypeStruct)):
            raise TypeError(
                f"the layer's {name} must be an array; found {held}. Dump outside of jax.jit and "
                "jax.eval_shape, where there are numbers."
            )
        array = np.array(held)
        if name == "batches":
            array = np.array(array.max(), np.int64)
        elif name not in RUNNING:
            array = _own_shape(name, array, layer)
        found[name] = array
    return found


def _own_shape(name: str, array: np.ndarray, layer: Any) -> np.ndarray:
    """A scale or bias in the shape that a layer of another framework has it in."""
    if isinstance(layer, BatchNorm) and array.size == 1:
        return np.full((layer.channels,), array.reshape(()))
    one_axis = array.ndim > 0 and array.size == array.shape[-1]
    if array.ndim == 0 or (isinstance(layer, BY_CHANNEL) and not one_axis):
        raise ValueError(
            f"the layer's {name} must have one number for each channel; found shape "
            f"{array.shape}. Other frameworks hold no other: broadcast it first, for example "
            f"layer.{name} = jnp.broadcast_to(layer.{name}.value, (channels,))."
        )
    return array.reshape(-1) if isinstance(layer, BY_CHANNEL) else array
