"""What a torch module is set to, in our terms: its kind, epsilon, momentum and groups."""

from typing import Any

import numpy as np

from ...nn import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from ...nn.normalization.base import NormalizationLayer
from ..layer_arrays import kind_of
from ..settings import check_kind, check_settings


def is_module(value: Any) -> bool:
    """Whether a value is a torch module, told by its protocol.

    Args:
        value: Anything.

    Returns:
        Whether it is.

    Example:
        >>> is_module({"weight": 1})
        False
    """
    return callable(getattr(value, "state_dict", None)) and hasattr(value, "get_submodule")


def check_module(layer: NormalizationLayer, model: Any, prefix: str) -> None:
    """Raises where a layer of a torch model is set otherwise than ours.

    Args:
        layer: A layer of ours.
        model: A torch module.
        prefix: The path of the layer in it; "" for the module itself.

    Raises:
        TypeError: If it computes something else.
        ValueError: If there is none at the path, or epsilon, momentum or groups differ.

    Example:
        >>> from types import SimpleNamespace
        >>> module = SimpleNamespace(eps=1e-5)
        >>> check_module(LayerNorm(), SimpleNamespace(get_submodule=lambda path: module), "norm")
    """
    try:
        module = model.get_submodule(prefix)
    except AttributeError as error:
        raise ValueError(
            f"prefix {prefix!r} is no layer of the {type(model).__name__} given as state_dict: "
            f"{error}. Its layers are named in model.named_modules()."
        ) from None
    tracked = getattr(module, "track_running_stats", True)
    check_kind(
        layer,
        module,
        {
            "_BatchNorm": [BatchNorm] if tracked else [LayerNorm],
            "_InstanceNorm": [BatchNorm] if tracked else [InstanceNorm],
            "LayerNorm": [LayerNorm],
            "GroupNorm": [GroupNorm],
            "RMSNorm": [RMSNorm],
        },
    )
    owner = f"{type(module).__name__} of torch"
    theirs: dict[str, float] = {}
    if hasattr(module, "eps"):
        theirs["epsilon"] = _smallest(module) if module.eps is None else module.eps
    names = {base.__name__ for base in type(module).__mro__}
    if isinstance(layer, BatchNorm) and "_BatchNorm" in names:
        if module.momentum is None and not layer.warmup:
            raise ValueError(
                f"the layer must average all batches equally, as the {owner} does with "
                f"momentum=None; found {type(layer).__name__} with warmup=False. Build it as "
                "BatchNorm(..., momentum=1.0, warmup=True)."
            )
        theirs["momentum"] = 1.0 if module.momentum is None else 1 - module.momentum
    if kind_of(layer) is GroupNorm and hasattr(module, "num_groups"):
        theirs["groups"] = module.num_groups
    if "RMSNorm" in names and hasattr(layer, "scale_offset"):
        theirs["scale_offset"] = 0.0
    check_settings(layer, owner, theirs)
    axes = len(getattr(module, "normalized_shape", ()))
    if axes and axes != np.size(getattr(layer, "axis", -1)):
        raise ValueError(
            f"axis of the layer must be the last {axes} axes, as the {owner} normalizes "
            f"{tuple(module.normalized_shape)}; found {getattr(layer, 'axis', None)}. Build it as "
            f"{type(layer).__name__}({tuple(range(-axes, 0))}, ...)."
        )


def _smallest(module: Any) -> float:
    """The epsilon of RMS norm with `eps=None`: that of the dtype it computes in."""
    double = "float64" in str(getattr(module.weight, "dtype", ""))
    return float(np.finfo(np.float64 if double else np.float32).eps)
