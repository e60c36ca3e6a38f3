"""Layers and the arrays of a torch module's `state_dict`: taken out of it, and given back."""

import contextlib
import os
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from ...nn import BatchNorm, InstanceNorm
from ...nn.normalization.base import NormalizationLayer
from ..checkpoint_keys import check_prefix, keys_of
from ..foreign_arrays import own_array
from ..layer_arrays import arrays_of, filled, fitting, numbers_of
from ..optional_packages import library
from . import safetensors_file
from .modules import check_module, is_module

Layer = TypeVar("Layer", bound=NormalizationLayer)

NAMES = {
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
    "batches": "num_batches_tracked",
}
RUNNING = {NAMES[name] for name in ("mean", "var", "batches")}


def load(
    layer: Layer, state: Any, state_dict: Any, prefix: str = "", *, channel_axis: int = -1
) -> tuple[Layer, Any]:
    r"""Loads a layer of torch into one of ours.

    .. math:: \gamma = \text{weight}, \quad \beta = \text{bias}, \quad
        \hat{\mu} = \text{running\_mean}, \quad \hat{v} = \text{running\_var}

    No number is rounded: arrays are converted to the layer's dtypes where those hold them, running
    statistics to float32 at least; else they are refused. Layer and state stay as they are, and
    nothing is made of a checkpoint that fits in part.

    `num_batches_tracked` becomes the count of a layer that has one (`BatchNorm(warmup=True)`,
    :class:`.BatchRenorm`); other layers have no use for it, and it may be missing.

    Args:
        layer: A `BatchNorm`, `LayerNorm`, `GroupNorm`, `InstanceNorm` or `RMSNorm` of `inox.nn`,
            its state exported, with scale and bias where torch's has weight and bias: what they
            hold is replaced.
        state: Its state; anything for a layer without one.
        state_dict: A mapping from keys to tensors of torch, NumPy or JAX arrays; a torch module,
            whose epsilon, momentum and groups must then be the layer's; or the path of a
            `.safetensors` file.
        prefix: What stands in front of the layer's keys, such as `"layer1.0.bn1"`, with or without
            a dot at the end; "" for the `state_dict` of the layer itself.
        channel_axis: Where the channels are in a weight with several axes: 0 for
            `torch.nn.LayerNorm((C, H, W))`. Ours has them last.

    Returns:
        The new layer and the new state.

    Raises:
        TypeError: If an argument is of the wrong kind, an array holds no real numbers, or such
            that would be rounded.
        ValueError: If a key is missing, there is one that the layer has no use for, a shape is
            another, a running variance negative, a torch module set otherwise than the layer, or a
            file no `.safetensors` file.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If there is one, and the library `safetensors` is not installed.

    Example:
        >>> from inox.nn import LayerNorm
        >>> layer = LayerNorm(scale=jnp.ones(3))
        >>> layer, _ = load(layer, {}, {"weight": np.arange(3, dtype=np.float32)})
        >>> print(layer.scale.value)
        [0. 1. 2.]
    """
    places = arrays_of(layer, state)
    start = _start(prefix)
    _check_channel_axis(channel_axis)
    if is_module(state_dict):
        check_module(layer, state_dict, prefix.removesuffix("."))
    wanted = {NAMES[name]: name for name in places}
    counted = isinstance(layer, BatchNorm) and "batches" not in places
    with _opened(state_dict) as arrays:
        keys = keys_of(
            "state_dict",
            arrays,
            start,
            wanted,
            {NAMES["batches"]} if counted else set(),
            lambda missing, extra: _advice(layer, missing, extra),
        )
        values: dict[str, Any] = {}
        for name, key in keys.items():
            called = f"state_dict[{key!r}]"
            value = own_array(arrays[key], called)
            if name in ("scale", "bias"):
                value = _channels_last(value, channel_axis, called, places[name].shape)
            values[name] = fitting(name, called, value, places[name], layer)
    return filled(layer, state, values)


def dump(
    layer: NormalizationLayer, state: Any, prefix: str = "", *, channel_axis: int = -1
) -> dict[str, np.ndarray]:
    r"""The part of a `state_dict` that a layer is in torch.

    .. math:: \text{weight} = \gamma, \quad \text{bias} = \beta, \quad
        \text{running\_mean} = \hat{\mu}, \quad \text{running\_var} = \hat{v}

    What :func:`load` loaded, it gives back to the bit, in the layer's dtype. The running variance
    is given as it is: after training it is the biased one.

    Args:
        layer: A normalization layer, its state exported.
        state: Its state; anything for a layer without one.
        prefix: What to put in front of the keys, with or without a dot at the end.
        channel_axis: Where the channels are in a weight with several axes, as in :func:`load`.

    Returns:
        NumPy arrays by key; :func:`to_tensors` makes tensors of them. `num_batches_tracked` is an
        int64, as in torch: the number of batches that the layer has counted (the largest where
        masks made its channels differ), 0 where it counts none.

    Raises:
        TypeError: If an argument is of the wrong kind, or layer or state hold no numbers, as under
            `jax.jit`.
        ValueError: If the state lacks the layer's entry, or a scale or bias has a shape that no
            layer of torch has.

    Example:
        >>> from inox.nn import LayerNorm
        >>> dump(LayerNorm(scale=jnp.ones(2)), {}, "norm")
        {'norm.weight': array([1., 1.], dtype=float32)}
    """
    start = _start(prefix)
    _check_channel_axis(channel_axis)
    found = numbers_of(layer, state)
    if isinstance(layer, BatchNorm):
        found.setdefault("batches", np.array(0, np.int64))
    for name in ("scale", "bias"):
        if name in found and found[name].ndim > 1:
            called = f"the layer's {name}"
            _check_within(channel_axis, found[name].ndim, called)
            found[name] = np.ascontiguousarray(np.moveaxis(found[name], -1, channel_axis))
    return {start + NAMES[name]: array for name, array in found.items()}


def to_tensors(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as tensors of torch, for `module.load_state_dict` or `safetensors.torch.save_file`.

    Args:
        arrays: Arrays by key, as :func:`dump` gives them, of any dtype, bfloat16 included.

    Returns:
        Tensors by key, in main memory, with the same bits. They share nothing with the arrays.

    Raises:
        ModuleNotFoundError: If torch is not installed.

    Example:
        >>> to_tensors({"weight": np.ones(2, np.float32)})  # doctest: +SKIP
        {'weight': tensor([1., 1.])}
    """
    torch = library("torch", "A tensor of torch", "torch")
    tensors: dict[str, Any] = {}
    for key, value in arrays.items():
        array = np.array(value)
        if array.dtype == jnp.bfloat16:  # torch takes none of NumPy's: by its bits
            tensors[key] = torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        else:
            tensors[key] = torch.from_numpy(array)
    return tensors


def _start(prefix: Any) -> str:
    prefix = check_prefix(prefix, "layer1.0.bn1").removesuffix(".")
    return f"{prefix}." if prefix else ""


@contextlib.contextmanager
def _opened(state_dict: Any) -> Generator[Mapping[str, Any]]:
    """What was given as a mapping from keys to arrays."""
    if isinstance(state_dict, (str, os.PathLike)):
        with safetensors_file.opened(state_dict) as arrays:
            yield arrays
    elif is_module(state_dict):
        yield state_dict.state_dict()
    elif isinstance(state_dict, Mapping):
        if nested := [key for key, value in state_dict.items() if isinstance(value, Mapping)]:
            raise ValueError(
                f"state_dict holds mappings, such as {nested[0]!r}: it is a whole checkpoint. Give "
                f"what it holds of the model, checkpoint[{nested[0]!r}] perhaps."
            )
        yield state_dict
    else:
        raise TypeError(
            "state_dict must be a mapping from keys to arrays, a torch module or the path of a "
            f".safetensors file; found {type(state_dict).__name__}. Give module.state_dict(), for "
            "example."
        )


def _check_channel_axis(axis: Any) -> None:
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(
            f"channel_axis must be an integer; found {axis!r}. Write 0 for a weight (C, H, W)."
        )


def _check_within(axis: int, rank: int, called: str) -> None:
    if not -rank <= axis < rank:
        raise ValueError(
            f"channel_axis must be an axis of {called}, which has {rank}; found {axis}."
        )


def _channels_last(value: Any, axis: int, called: str, shape: tuple[int, ...]) -> Any:
    """A weight with its channels last, or an error where they seem to be elsewhere."""
    if value.ndim < 2:
        return value
    _check_within(axis, value.ndim, called)
    numpy: Any = np if isinstance(value, np.ndarray) else jnp
    moved = numpy.moveaxis(value, axis, -1)
    first = (*value.shape[1:], value.shape[0])
    if moved.shape != shape and first == shape:
        raise ValueError(
            f"{called} must have the shape {shape} of the layer, whose channels are last; found "
            f"{value.shape}, where they seem to be first. Give channel_axis=0."
        )
    return moved


def _advice(layer: NormalizationLayer, missing: list[str], extra: list[str]) -> str:
    """What to do where names are old, or running statistics on one side alone."""
    if extra and missing and {"gamma", "beta"}.issuperset(extra):
        return (
            "Checkpoints that were converted from TensorFlow call weight gamma, and bias beta: "
            "rename these keys in a copy of state_dict."
        )
    if missing == [NAMES["batches"]]:
        return (
            "The layer counts its batches, and checkpoints from before torch 0.4.1 don't: add that "
            "key to state_dict, with 0 for a count that begins, or build the layer without warmup."
        )
    if not extra and {NAMES["mean"], NAMES["var"]} <= set(missing) <= RUNNING:
        return (
            "A torch layer with track_running_stats=False has no running statistics and normalizes "
            "by those of the batch in evaluation, too. So does LayerNorm with axis=(0, 1, 2), all "
            "axes but the channels, and scale and bias by channel: load it into that."
        )
    if extra and RUNNING.issuperset(extra):
        if isinstance(layer, InstanceNorm):
            return (
                "A torch instance norm with track_running_stats=True normalizes by running "
                "statistics in evaluation, as BatchNorm does there: load it into a BatchNorm and "
                "call that with training=False. For statistics of each instance leave these keys "
                "out of state_dict."
            )
        return "These are of a batch norm: load them into BatchNorm."
    return ""
