r"""The moments of one batch, by weights and masks, pooled over devices.

With weights :math:`w_i` and their shares :math:`p_i = w_i / \sum_j w_j`, in the two steps of
:mod:`inox.functional.split_moments`, which is used where there are no weights:

.. math:: m = \sum_i p_i x_i, \qquad \delta = \sum_i p_i (x_i - m), \qquad
    v = \sum_i p_i (x_i - m - \delta)^2

The mean is the pair :math:`(m, \delta)`: rounded to float32 it would be off by half a unit in its
last place, 3% of a deviation where the mean is a million of them.
"""

from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..functional.guarded import pinned
from ..functional.mapped_moments import gathered_moments
from ..functional.means import Reduction, masked
from ..functional.pooling import SplitMoments
from ..functional.pooling import pool as pool_stacked
from ..functional.pooling_over_devices import GATHERED, devices_along, pool_by_sums
from ..functional.split_moments import split_moments, upcasting
from ..functional.sums import sum_along
from ..kernels.arithmetic import accumulator, power_near_reciprocal_root
from ..nn.normalization.pooled_moments import two_sum
from .pairs import Pairs

Array = jax.Array
Names = tuple[Hashable, ...]
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
    if weights is None:
        moments = split_moments(upcasting(masked(x, where)), where, None, Reduction(axes))
    else:
        moments = _weighted(x.astype(accumulator(x.dtype)), where, weights, axes)
    return SplitMoments(*(jnp.reshape(array, shape) for array in moments))


def _weighted(x: Array, where: Array | None, weights: Array, axes: tuple[int, ...]) -> SplitMoments:
    weights = lax.stop_gradient(weights).astype(x.dtype)
    taken = weights > 0 if where is None else (weights > 0) & where
    taken = jnp.broadcast_to(taken, x.shape)
    x = masked(x, taken)
    weights = masked(jnp.broadcast_to(weights, x.shape), taken)
    number = sum_along(weights, axes)
    share = weights / jnp.where(number > 0, number, jnp.ones_like(number))
    mean = pinned(sum_along(share * x, axes))
    deviation = masked(x - mean, taken)
    low = sum_along(share * deviation, axes)
    var = sum_along(share * lax.square(deviation - low), axes)
    scale = power_near_reciprocal_root(jnp.maximum(var, jnp.ones_like(var)))
    return SplitMoments(number, mean, low, (var * scale) * scale, scale)


def pooled_over_devices(parts: Sequence[SplitMoments], names: Names) -> list[Pairs]:
    """The moments of several batches pooled over mapped axes: all of them in one collective.

    In two where the devices' moments together are more than 2**14: sums, whose bytes do not grow
    with the number of devices.
    """
    if not names:
        return [_as_pairs(part, (part.count, jnp.zeros_like(part.count))) for part in parts]
    pooled: dict[int, Pairs] = {}
    for dtype in sorted({part.mean.dtype for part in parts}, key=str):
        chosen = [i for i, part in enumerate(parts) if part.mean.dtype == dtype]
        arrays = zip(*(parts[i] for i in chosen), strict=True)
        flat = SplitMoments(*(jnp.concatenate([jnp.ravel(a) for a in each]) for each in arrays))
        together = _pooled(flat, names)
        start = 0
        for i in chosen:
            shape, end = parts[i].mean.shape, start + parts[i].mean.size
            cut = [tuple(jnp.reshape(a[start:end], shape) for a in pair) for pair in together]
            pooled[i] = Pairs(*cut)  # type: ignore[arg-type]
            start = end
    return [pooled[i] for i in range(len(parts))]


def _pooled(part: SplitMoments, names: Names) -> Pairs:
    if devices_along(names) * part.mean.size > GATHERED:
        whole = pool_by_sums(part, None, 2**31, names)
        return _as_pairs(whole, (whole.count, jnp.zeros_like(whole.count)))
    together = gathered_moments(part, names, counted=True)
    whole = pool_stacked(*together)
    blocks = jnp.floor(together.count / BLOCK) * BLOCK
    count = two_sum(jnp.sum(blocks, 0), jnp.sum(together.count - blocks, 0))
    return _as_pairs(whole, count)


def _as_pairs(moments: SplitMoments, count: tuple[Array, Array]) -> Pairs:
    squares = count[0] * moments.var
    mean = two_sum(moments.mean, moments.mean_low)
    return Pairs(count, mean, (squares, jnp.zeros_like(squares)))
