"""Bytes that a forward pass leaves for the backward pass."""

from typing import Any

import jax

from .cells import Cell, Data
from .contestants import Contestant
from .programs import arrays


def saved_bytes(contestant: Contestant, cell: Cell, data: Data) -> int | None:
    """All that the backward pass holds on to, x and the parameters among it; None without a norm.

    For JAX the arrays in the function that `jax.vjp` returns, each counted once; for PyTorch the
    tensors that its graph saves, each memory once.
    """
    norm = contestant.norm(cell)
    if norm is None:
        return None
    x, _, *parameters = arrays(contestant, cell, (data.x, data.g, *data.parameters), "cpu")
    if contestant.backend == "torch":
        return _saved_by_torch(norm, (x, *parameters))
    leaves = jax.tree.leaves(jax.vjp(norm, x, *parameters)[1])
    held = {leaf.unsafe_buffer_pointer(): leaf.nbytes for leaf in leaves}
    return sum(held.values())


def _saved_by_torch(norm: Any, operands: Any) -> int:
    import torch

    held: dict[int, int] = {}

    def keep(saved: Any) -> Any:
        storage = saved.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return saved

    tracked = [operand.detach().requires_grad_() for operand in operands]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        norm(*tracked)
    return sum(held.values())
