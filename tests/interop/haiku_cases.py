"""Every class of Haiku's normalization in the ways it is built, and how such a layer is run."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

BOTH = {"create_scale": True, "create_offset": True}
BATCH = {**BOTH, "decay_rate": 0.9}
# By name: class, arguments, whether it is a batch norm. Inputs have shape (4, 5, 6, 8).
LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "batch": ("BatchNorm", BATCH),
    "batch_first": ("BatchNorm", {**BATCH, "data_format": "channels_first"}),
    "batch_nchw": ("BatchNorm", {**BATCH, "data_format": "NCHW"}),
    "batch_axes": ("BatchNorm", {**BATCH, "axis": [0, 2]}),
    "batch_negative": ("BatchNorm", {**BATCH, "axis": [0, -2]}),
    "batch_plain": ("BatchNorm", {**BATCH, "create_scale": False, "create_offset": False}),
    "batch_scale": ("BatchNorm", {**BATCH, "create_offset": False, "eps": 0.1}),
    "layer": ("LayerNorm", {**BOTH, "axis": -1}),
    "layer_second": ("LayerNorm", {**BOTH, "axis": 1}),
    "layer_param": ("LayerNorm", {**BOTH, "axis": -1, "param_axis": 1}),
    "layer_axes": ("LayerNorm", {**BOTH, "axis": (3, 1), "param_axis": (1, -1)}),
    "layer_slice": ("LayerNorm", {**BOTH, "axis": slice(1, None), "param_axis": slice(2, None)}),
    "layer_fast": ("LayerNorm", {**BOTH, "axis": -1, "use_fast_variance": True}),
    "layer_plain": ("LayerNorm", {"axis": -1, "create_scale": False, "create_offset": False}),
    "layer_offset": ("LayerNorm", {"axis": -1, "create_scale": False, "create_offset": True}),
    "instance": ("InstanceNorm", BOTH),
    "instance_first": ("InstanceNorm", {**BOTH, "data_format": "NCHW"}),
    "rms": ("RMSNorm", {"axis": -1}),
    "rms_axes": ("RMSNorm", {"axis": (1, 2), "param_axis": (1, 2)}),
    "rms_slice": ("RMSNorm", {"axis": slice(1, -1), "eps": 0.01}),
    "rms_plain": ("RMSNorm", {"axis": -1, "create_scale": False}),
    "group": ("GroupNorm", {"groups": 4}),
    "group_last": ("GroupNorm", {"groups": 4, "axis": 3}),
    "group_time": ("GroupNorm", {"groups": 2, "axis": slice(2, None)}),
    "group_apart": ("GroupNorm", {"groups": 4, "axis": (1, 2)}),
    "group_first": ("GroupNorm", {"groups": 5, "data_format": "NCHW"}),
    "group_first_axes": ("GroupNorm", {"groups": 5, "axis": (1, 3), "data_format": "NCHW"}),
    "group_plain": ("GroupNorm", {"groups": 8, "create_scale": False, "create_offset": False}),
}
SHAPE = (4, 5, 6, 8)


def example(name: str, dtype: Any = np.float32, mean: float = 1.0) -> np.ndarray:
    """An input of the cases."""
    random = np.random.default_rng(sum(map(ord, name)))
    return (random.standard_normal(SHAPE) * 2 + mean).astype(dtype)


def is_batch(name: str) -> bool:
    """Whether a layer has a state."""
    return LAYERS[name][0] == "BatchNorm"


def transformed(module: Any, name: str, **more: Any) -> hk.TransformedWithState:
    """A layer of a module (Haiku or ours) as a pair of functions of x and the mode."""
    cls, arguments = LAYERS[name]

    def network(x: Any, is_training: bool = True) -> Any:
        layer = getattr(module, cls)(**{**arguments, **more})
        return layer(x, is_training) if is_batch(name) else layer(x)

    return hk.transform_with_state(network)


def random_like(tree: Any, seed: int = 0) -> Any:
    """A tree of the same structure with random numbers about 1."""
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(1 + 0.5 * random.standard_normal(leaf.shape), leaf.dtype), tree
    )


def kinds(tree: Any) -> Any:
    """The tree with shape and dtype in place of each array."""
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)
