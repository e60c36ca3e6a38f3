"""From a function and its operands to something that can be timed, and whose results can be read.

A program of JAX is compiled once, forward and backward together; PyTorch's runs op by op. The
backward pass gives the gradients of all operands for a given cotangent `g` of each output.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .cells import Cell, Data
from .contestants import Contestant


@dataclass
class Program:
    """`step` starts the work and returns its results, `wait` waits until they are there."""

    step: Callable[[], Any]
    wait: Callable[[Any], Any] = jax.block_until_ready
    # On a GPU calls are queued, and the queue is waited for: what is timed is the device.
    queued: bool = False
    # Where the results have the channels second.
    channels_first: bool = False
    # What runs in Python alone is told by the time of its thread: other programs change it less.
    clock: Callable[[], float] = time.perf_counter

    def seconds(self, calls: int = 1) -> float:
        """The time of one call, averaged over `calls` in a row. Results are freed at once."""
        step, wait, clock = self.step, self.wait, self.clock
        start = clock()
        if self.queued:
            results = None
            for _ in range(calls):
                results = step()
            wait(results)
        else:
            for _ in range(calls):
                wait(step())
        return (clock() - start) / calls

    def results(self) -> list[np.ndarray]:
        """The results of a call as NumPy arrays, channels last, one after the other."""
        leaves = jax.tree.leaves(self.wait_for(self.step()))
        return [_array(leaf, self.channels_first) for leaf in leaves]

    def wait_for(self, results: Any) -> Any:
        """The results, once they are there."""
        self.wait(results)
        return results


def _array(leaf: Any, channels_first: bool) -> np.ndarray:
    array = np.asarray(leaf.detach().float().cpu() if hasattr(leaf, "detach") else leaf)
    return np.moveaxis(array, 1, -1) if channels_first and array.ndim > 2 else array


def of_jax(
    function: Callable[..., Any],
    operands: Sequence[Any],
    cotangent: Any,
    which: str,
    **options: Any,
) -> Program:
    """A function of JAX arrays, compiled: the forward pass, or both passes in one program."""
    if which == "forward":
        compiled = jax.jit(function)
        return Program(lambda: compiled(*operands), **options)

    @jax.jit
    def both(operands: Sequence[Any], cotangent: Any) -> tuple[Any, Any]:
        y, pull = jax.vjp(function, *operands)
        return y, pull(cotangent)

    return Program(lambda: both(operands, cotangent), **options)


def of_torch(
    function: Callable[..., Any],
    operands: Sequence[Any],
    cotangent: Any,
    which: str,
    **options: Any,
) -> Program:
    """A function of PyTorch's tensors, called eagerly; the graph is recorded for both passes."""
    import torch

    def forward() -> Any:
        with torch.no_grad():
            return function(*operands)

    tracked = [operand.detach().requires_grad_() for operand in operands]

    def both() -> Any:
        y = function(*tracked)
        return y, torch.autograd.grad(y, tracked, cotangent)

    def wait(_: Any) -> None:
        if operands[0].is_cuda:
            torch.cuda.synchronize()

    return Program(forward if which == "forward" else both, wait, **options)


def tensor(array: np.ndarray, channels_first: bool, device: str) -> Any:
    """A tensor of PyTorch; images are seen channels second, in the order of memory asked for."""
    import torch

    half = array.dtype.name == "bfloat16"
    found = torch.from_numpy(array.astype(np.float32) if half else array.copy()).to(device)
    found = found.bfloat16() if half else found
    if channels_first:
        return found.movedim(-1, 1).contiguous()
    return found


def arrays(
    contestant: Contestant, cell: Cell, given: Sequence[np.ndarray], device: str
) -> list[Any]:
    """NumPy arrays as the contestant takes them."""
    first = contestant.channels_first(cell)
    if contestant.backend == "torch":
        found = [tensor(array, first and array.ndim > 2, device) for array in given]
        if cell.kind in ("batch", "group") and not first:
            found = [a.movedim(-1, 1) if a.ndim > 2 else a for a in found]
        return found
    if first:
        given = [np.moveaxis(a, -1, 1) if a.ndim > 2 else a for a in given]
    return [jax.device_put(np.ascontiguousarray(array)) for array in given]


def of_contestant(
    contestant: Contestant, cell: Cell, which: str, data: Data, queued: bool
) -> Program | None:
    """The norm of a cell as this contestant computes it; None if it doesn't offer it."""
    norm = contestant.norm(cell)
    if norm is None:
        return None
    x, g, *parameters = arrays(
        contestant, cell, (data.x, data.g, *data.parameters), "cuda" if queued else "cpu"
    )
    torch = contestant.backend == "torch"
    make = of_torch if torch else of_jax
    second = cell.kind in ("batch", "group") if torch else contestant.channels_first(cell)
    return make(norm, (x, *parameters), g, which, queued=queued, channels_first=second)


def floor(data: Data, which: str, queued: bool) -> Program:
    """Reading and writing alone: x + 1; for the backward pass, compiled by itself, x + g."""
    x, g = jax.device_put(data.x), jax.device_put(data.g)
    one_more = jax.jit(lambda x: x + 1)
    if which == "forward":
        return Program(lambda: one_more(x), queued=queued)
    added = jax.jit(lambda x, g: x + g)

    def step() -> Any:
        y = one_more(x)
        if not queued:
            y.block_until_ready()
        return y, added(x, g)

    return Program(step, queued=queued)
