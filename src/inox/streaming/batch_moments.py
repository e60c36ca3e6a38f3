"""The moments of one batch, by weights and masks, pooled over devices.

They are those of :mod:`inox.functional.split_moments`, and with weights those of
:mod:`inox.functional.weighted_moments`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..functional.mapped_moments import gathered_moments
from ..functional.means import Reduction, masked
from ..functional.pairs import Pairs, pairs_of
from ..functional.pooling import SplitMoments, pool
from ..functional.pooling_over_devices import GATHERED, devices_along, pool_by_sums
from ..functional.split_moments import split_moments, upcasting
from ..functional.weighted_moments import weighted_moments
from ..kernels.arithmetic import accumulator, two_sum
from ..kernels.explicit_sharding import split_as
from ..kernels.mapped_axes import Names

Array = jax.Array
# Counts are added up over devices in two parts, each exact: whole multiples of this, and the rest.
BLOCK = 2.0**12


def batch_moments(x: Array, where: Array | None, weights: Array | None, rank: int) -> SplitMoments:
    """The moments over all but the last `rank` axes of `x`, on this device.

    Args:
        x: The batch.
        where: A mask of the rank of `x`.
        weights: Weights of the rank of `x`. What isn't positive takes no part.
        rank: The rank of one observation.
    """
    shape = x.shape[x.ndim - rank :]
    axes = tuple(range(-x.ndim, -rank))
    x = lax.stop_gradient(x)
    where = None if where is None else split_as(x, where)
    if weights is None:
        moments = split_moments(upcasting(masked(x, where)), where, None, Reduction(axes))
    else:
        wide = lax.stop_gradient(weights).astype(accumulator(x.dtype))
        given: Array = split_as(x, wide)
        taken = given > 0  # not NaN, either
        taken = taken if where is None else taken & where
        moments = weighted_moments(upcasting(x), given, taken, None, Reduction(axes))
    return SplitMoments(*(jnp.reshape(array, shape) for array in moments))


def pooled_over_devices(parts: Sequence[SplitMoments], names: Names) -> list[Pairs]:
    """The moments of several batches pooled over mapped axes: all of them in one collective.

    In two where the devices' moments together are more than 2**14: sums, whose bytes do not grow
    with the number of devices.
    """
    if not names:
        return [pairs_of(part) for part in parts]
    pooled: dict[int, Pairs] = {}
    for dtype in sorted({part.mean.dtype for part in parts}, key=str):
        chosen = [i for i, part in enumerate(parts) if part.mean.dtype == dtype]
        arrays = zip(*(parts[i] for i in chosen), strict=True)
        flat = SplitMoments(*(jnp.concatenate([jnp.ravel(a) for a in each]) for each in arrays))
        together = _pooled(flat, names)
        start = 0
        for i in chosen:
            shape, end = parts[i].mean.shape, start + parts[i].mean.size
            cut: list[Any] = [
                tuple(jnp.reshape(a[start:end], shape) for a in pair) for pair in together
            ]
            pooled[i] = Pairs(*cut)
            start = end
    return [pooled[i] for i in range(len(parts))]


def _pooled(part: SplitMoments, names: Names) -> Pairs:
    if devices_along(names) * part.mean.size > GATHERED:
        whole, *count = pool_by_sums(part, None, 2**31, names, *_in_blocks(part.count))
    else:
        together = gathered_moments(part, names, counted=True)
        whole = pool(*together)
        count = [jnp.sum(half, 0) for half in _in_blocks(together.count)]
    return pairs_of(whole, two_sum(*count))


def _in_blocks(count: Array) -> tuple[Array, Array]:
    blocks = jnp.floor(count / BLOCK) * BLOCK
    return blocks, count - blocks
