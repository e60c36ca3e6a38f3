"""PyTorch's functions, called one by one, as functions (x, *parameters) -> y of its tensors.

Images come as views with channels second, over memory whose order the contestant chooses.
"""

from collections.abc import Callable
from typing import Any

from .cells import EPSILON, Cell


def eager(cell: Cell) -> Callable[..., Any] | None:
    """The norm of a cell; batch norm also moves its running averages."""
    import torch
    from torch.nn import functional as f

    if not cell.affine:
        return None
    shape = (cell.channels,)

    def batch() -> Callable[..., Any]:
        running: list[Any] = []

        def norm(x: Any, scale: Any, bias: Any) -> Any:
            if not running:  # on the device of x
                running.extend((torch.zeros_like(scale), torch.ones_like(scale)))
            return f.batch_norm(x, *running, scale, bias, training=True, eps=EPSILON)

        return norm

    def position(x: Any, scale: Any, bias: Any) -> Any:
        rows = x.reshape(-1, cell.channels)
        return f.group_norm(rows, cell.groups, scale, bias, EPSILON).reshape(x.shape)

    return {
        "layer": lambda: lambda x, scale, bias: f.layer_norm(x, shape, scale, bias, EPSILON),
        # In one dtype, which PyTorch has a fused kernel for.
        "rms": lambda: lambda x, scale: f.rms_norm(x, shape, scale.to(x.dtype), EPSILON),
        "heads": lambda: lambda x, scale: f.rms_norm(x, shape, None, EPSILON) * scale.to(x.dtype),
        "batch": batch,
        "group": lambda: lambda x, *p: f.group_norm(x, cell.groups, *p, EPSILON),
        "position": lambda: position,
    }[cell.kind]()


def eager_channels_first(cell: Cell) -> Callable[..., Any] | None:
    """The same in PyTorch's own order of memory, where that is another."""
    return eager(cell) if cell.kind in ("batch", "group") else None
