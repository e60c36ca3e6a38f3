"""Layers and the weights of a Keras layer or file: taken out of it, and given back."""

import contextlib
import os
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import numpy as np

from ...nn import RMSNorm
from ...nn.normalization.base import NormalizationLayer
from ..checkpoint_keys import check_prefix, keys_of
from ..foreign_arrays import own_array
from ..layer_arrays import arrays_of, filled, fitting, numbers_of
from . import weights_file
from .layers import array_in, arrays_in, check_layer, is_layer

Layer = TypeVar("Layer", bound=NormalizationLayer)

NAMES = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}


def load(layer: Layer, state: Any, weights: Any, prefix: str = "") -> tuple[Layer, Any]:
    r"""Loads a layer of Keras into one of ours.

    .. math:: \gamma = \text{gamma}, \quad \beta = \text{beta}, \quad
        \hat{\mu} = \text{moving\_mean}, \quad \hat{v} = \text{moving\_variance}

    No number is rounded: arrays are converted to the layer's dtypes where those hold them, running
    statistics to float32 at least; else they are refused. Layer and state stay as they are, and
    nothing is made of weights that fit in part.

    Args:
        layer: A `BatchNorm`, `LayerNorm`, `GroupNorm`, `InstanceNorm` or `RMSNorm` of `inox.nn`,
            its state exported, with scale and bias where Keras' has them: what they hold is
            replaced.
        state: Its state; anything for a layer without one.
        weights: The path of a `.weights.h5` file; a mapping from paths as in such a file
            (`layers/batch_normalization/vars/0`) to arrays; a Keras layer, whose epsilon, momentum
            and groups must then be the layer's; or the arrays of one, as `get_weights()` lists
            them.
        prefix: The path of the layer in the file, such as `"layers/batch_normalization"`, with or
            without `/vars`; "" for a layer or its list of arrays.

    Returns:
        The new layer and the new state.

    Raises:
        TypeError: If an argument is of the wrong kind, an array holds no real numbers, or such
            that would be rounded.
        ValueError: If an array is missing, there is one that the layer has no use for, a shape is
            another, a running variance negative, a Keras layer set otherwise than ours, the layer
            counts batches, or a file no `.weights.h5` file.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If there is one, and the library `h5py` is not installed.

    Example:
        >>> import jax.numpy as jnp
        >>> from inox.nn import RMSNorm
        >>> layer, _ = load(RMSNorm(scale=jnp.ones(2)), {}, [np.array([3, 4], np.float32)])
        >>> print(layer.scale.value)
        [3. 4.]
    """
    places = arrays_of(layer, state)
    path = _path(prefix)
    if "batches" in places:
        raise ValueError(
            f"layer must count no batches; found {type(layer).__name__} with a count. Keras has "
            "none, and from a count of 0 the first batch would take the place of the statistics "
            "loaded. Build BatchNorm without warmup."
        )
    with _opened(weights, path) as arrays:
        if is_layer(weights):
            check_layer(layer, weights)
            start, wanted = "", {NAMES[name]: name for name in places}
            if isinstance(layer, RMSNorm):
                wanted = {"scale": "scale"}
        else:
            start = f"{path}/" if path else ""
            wanted = {f"vars/{index}": name for index, name in enumerate(places)}
        values: dict[str, Any] = {}
        for name, key in keys_of("weights", arrays, start, wanted).items():
            called = f"weights[{key!r}]"
            values[name] = fitting(
                name, called, own_array(arrays[key], called), places[name], layer
            )
    return filled(layer, state, values)


def dump(layer: NormalizationLayer, state: Any, prefix: str = "") -> dict[str, np.ndarray]:
    r"""The arrays that a layer is in a `.weights.h5` file of Keras.

    .. math:: \text{gamma} = \gamma, \quad \text{beta} = \beta, \quad
        \text{moving\_mean} = \hat{\mu}, \quad \text{moving\_variance} = \hat{v}

    What :func:`load` loaded, it gives back to the bit, in the layer's dtype. A count of batches is
    left out: Keras has none.

    Args:
        layer: A normalization layer, its state exported.
        state: Its state; anything for a layer without one.
        prefix: The path of the layer in the file, such as `"layers/batch_normalization"`.

    Returns:
        NumPy arrays by path, in Keras' order: `keras_layer.set_weights(list(found.values()))`
        takes them as well.

    Raises:
        TypeError: If an argument is of the wrong kind, or layer or state hold no numbers, as under
            `jax.jit`.
        ValueError: If the state lacks the layer's entry, or a scale or bias has a shape that no
            layer of Keras has.

    Example:
        >>> import jax.numpy as jnp
        >>> from inox.nn import RMSNorm
        >>> dump(RMSNorm(scale=jnp.ones(2)), {}, "layers/rms_normalization")
        {'layers/rms_normalization/vars/0': array([1., 1.], dtype=float32)}
    """
    path = _path(prefix)
    found = numbers_of(layer, state)
    found.pop("batches", None)
    start = f"{path}/vars/" if path else "vars/"
    return {f"{start}{index}": array for index, array in enumerate(found.values())}


def _path(prefix: Any) -> str:
    path = check_prefix(prefix, "layers/batch_normalization").strip("/")
    return "" if path == "vars" else path.removesuffix("/vars")


@contextlib.contextmanager
def _opened(weights: Any, path: str) -> Generator[Mapping[str, Any]]:
    """What was given as a mapping from paths, or the names of a Keras layer, to arrays."""
    if isinstance(weights, (str, os.PathLike)):
        with weights_file.opened(weights) as arrays:
            yield arrays
        return
    if isinstance(weights, Mapping):
        yield weights
        return
    if not (is_layer(weights) or isinstance(weights, (list, tuple))):
        raise TypeError(
            "weights must be the path of a .weights.h5 file, a mapping from paths to arrays, a "
            f"Keras layer or a list of its arrays; found {type(weights).__name__}. Give "
            "model.get_layer(name), for example."
        )
    if path:
        raise ValueError(
            f"prefix must be '' where weights is one layer or its arrays; found {path!r}. Give the "
            "layer itself, model.get_layer(name), or the file of the whole model."
        )
    if isinstance(weights, (list, tuple)):
        yield {f"vars/{index}": array_in(value) for index, value in enumerate(weights)}
        return
    yield arrays_in(weights)
