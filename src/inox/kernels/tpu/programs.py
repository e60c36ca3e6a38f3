"""The operations on slices that have no kernel as programs of XLA's own operations, for TPU.

Counted on what its compiler makes of them (`docs/platforms.md`): the reference, mean first, is 4
passes over x forward, two of them for statistics (3 of 5 for slices below 2**15 elements); about a
pilot mean (:mod:`..pilot`) these are one. Backward, the sums of x alone and with dy are one pass.
Rows come here where no kernel takes them, as those of 64 channels or 1,000: 5 passes forward, 8
backward and 9 for both are 3, 6 and 7 (6 of rows of 1,000).

That holds for arrays which stand in memory. One of up to 100 MiB the compiler keeps in on-chip
memory from its maker to the last of its readers, where further passes cost next to nothing; but
what may enter a branch it writes to memory. A convolution and a batch norm of 49 MiB, compiled
together for v5e, move 3 arrays of that size with the reference and 6 with a pilot. And it computes
the first sum of the reference, the mean's, along with what makes x: of 196 MiB they move 5 either
way (group norm of 256 MiB: 8 and 7). Hence :data:`LARGE`.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..kernel import Axes, Kernel, Outputs, Run
from ..pilot import gradients, normalized, plain, size_of, split_mean
from .lanes import LANES
from .pilot import is_grouped, slices

Array = jax.Array

# The shortest slice that is worth it: what is known of rows of 32, in a program of both passes,
# moves as much as looking at them once more.
SHORT = 64
# The bytes of an array that is not kept on the chip: v5e and v6e have 2**27 there.
LARGE = 2**26


def _suits(operands: Mapping[str, Any], axes: Axes) -> bool:
    """Whether an array is large, and sampled without copying it or reading much of it."""
    x = operands["x"]
    if not plain(operands, axes) or size_of(x, axes) < SHORT:
        return False
    if math.prod(x.shape) * x.dtype.itemsize < LARGE:
        return False
    if -1 not in axes:
        return True
    return not is_grouped(x.shape, axes) or x.shape[-1] < LANES or x.shape[-2] == 1


def _moments(
    operands: Mapping[str, Any], *, axes: Axes, implementation: str | None, centred: bool
) -> Run | None:
    if not centred or not _suits(operands, axes):
        return None

    def run(*, x: Array) -> tuple[Array, ...]:
        return split_mean(slices(x, axes))

    return run


def _normalize(
    operands: Mapping[str, Any], *, axes: Axes, centred: bool, implementation: str | None
) -> Run | None:
    if not centred or not _suits(operands, axes):
        return None

    def run(
        *, x: Array, epsilon: Array, scale: Array | None = None, bias: Array | None = None
    ) -> tuple[Array, ...]:
        return (normalized(slices(x, axes), x, epsilon, scale, bias),)

    return run


def _cotangent(
    operands: Mapping[str, Any],
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: Outputs,
) -> Run | None:
    """The gradients: the sums of x and dy by one pass, and what is made of them by another."""
    x, dy = operands["x"], operands["dy"]
    if not centred or not _suits(operands, axes) or x.shape != dy.shape:
        return None
    if any(name == "epsilon_tangent" for name, _ in outputs):
        return None

    def run(
        *, dy: Array, x: Array, epsilon: Array, scale: Array | None = None
    ) -> tuple[Array, ...]:
        found = slices(x, axes, dy, scale)
        return gradients(found, dy, x, epsilon, scale, outputs, _total)

    return run


def _total(terms: Array, axes: Axes) -> Array:
    """A sum for the gradient of a parameter."""
    return jnp.sum(terms, axes, keepdims=True)


PROGRAMS: Mapping[str, Kernel] = {
    "moments": _moments,
    "normalize": _normalize,
    "normalize_cotangent": _cotangent,
}
