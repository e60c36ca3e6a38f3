"""Sums in pairs, where XLA's own sum on CPU errs.

XLA adds many numbers along the last axes well on CPU: it errs by 2 units in the last place for a
million terms of one sign. Few numbers it adds one after the other (35 ulp for 264 equal ones), and
many too, if a kept axis lies between the last one and the others (20 ulp for random terms, 230 for
equal ones). Along other axes its error is 2 ulp for random and 5 for equal terms; adding in pairs
stays below 2, but takes nearly twice as long, so it is done where the numbers are few.

Long rows XLA adds in 8 lanes (AVX2; 16 with AVX-512). A term that is much larger than the others
makes its lane round each later one to the last place of that term: the gradient of an RMS norm over
a million numbers, one of them 1e6, erred by 97 ulp. In parts of a few thousand it errs by 3. The
sums of the parts err in either direction, and are added up with what each rounding leaves: in pairs
they left the mean of a row whose spread is its last place one place off, and its output 5.7 ulp.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..arithmetic import two_sum
from ..kernel import Axes, Run

Array = jax.Array

# How many numbers XLA adds up one after the other; from here on it uses parallel lanes.
FEW = 4096
# How many numbers are in a fast cache, so that adding them in pairs costs next to nothing.
SOME = 2**17
# From how many numbers in a row on it is added up in parts of at most PART.
LONG = 2**16
PART = 4096
# Into how many parts an axis is cut for adding them up as a tree.
PARTS = 16


def pairwise_sum(operands: Mapping[str, Any], *, axes: Axes) -> Run | None:
    """The kernel of `sum`; none where XLA's own sum does well."""
    size = operands["x"].size
    trailing = set(axes) == set(range(-len(axes), 0))
    row = math.prod(operands["x"].shape[axis] for axis in axes)
    if trailing and row >= LONG and (part := _divisor(row)):
        return lambda *, x: (_in_parts(x, axes, part),)
    if 0 < size < FEW or (not trailing and (-1 in axes or 0 < size < SOME)):
        return lambda *, x: (_in_pairs(x, axes),)
    return None


def _divisor(row: int) -> int:
    """The largest part of a row, or 0 where there is none that is worth it."""
    part = max(d for d in range(1, PART + 1) if row % d == 0)
    return part if part * 16 >= PART else 0


def _in_parts(x: Array, axes: Axes, part: int) -> Array:
    """The sum of long rows: that of each part, and these without a rounding but the last."""
    kept = x.shape[: x.ndim - len(axes)]
    partial = lax.optimization_barrier(jnp.sum(x.reshape(*kept, -1, part), -1))
    zero = jnp.zeros((), x.dtype)
    high, low = lax.reduce(
        (partial, jnp.zeros_like(partial)), (zero, zero), _exactly_added, (len(kept),)
    )
    return (high + low).reshape(*kept, *(1,) * len(axes))


def _exactly_added(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """The sum of two numbers and what its rounding left (Knuth 1969), with theirs."""
    (a, left), (b, right) = one, other
    total, rounding = two_sum(a, b)
    # Infinity minus infinity would hide that the sum has left the range.
    rounding = jnp.where(jnp.isfinite(total), rounding, 0)
    return total, (left + right) + rounding


def _in_pairs(x: Array, axes: Axes) -> Array:
    """The sum in pairs: an axis is cut in parts, which are added up as a tree; then again."""
    if x.size == 0:
        return jnp.sum(x, axes, keepdims=True)
    for axis in sorted(axis + x.ndim for axis in axes):
        while (length := x.shape[axis]) > 1:
            count = min(PARTS, length)
            part = -(-length // count)
            if part * count > length:  # zeros change no sum
                zeros = part * count - length
                x = jnp.pad(x, [(0, zeros if i == axis else 0) for i in range(x.ndim)])
            tree = [lax.slice_in_dim(x, i * part, (i + 1) * part, axis=axis) for i in range(count)]
            while len(tree) > 1:
                pairs = [a + b for a, b in zip(tree[::2], tree[1::2], strict=False)]
                tree = pairs + tree[2 * len(pairs) :]
            # Each round is carried out before the next, or all would be one large expression.
            x = lax.optimization_barrier(tree[0])
    return x
