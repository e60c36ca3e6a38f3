r"""Row norms whose rows are split over mapped axes, of a `shard_map` or a `vmap`.

The formula of :mod:`.normalize` in two steps, as batch norm has it: the moments of the device's
part, pooled with those of the others, and the elementwise map by them. The derivative is put
together by JAX from those of the two. What crosses devices is a few numbers a row: forward the
moments of the parts, backward the gradients of mean and variance.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..kernels.arithmetic import accumulator
from ..kernels.mapped_axes import Names, axis_size, gathered_order, position_along
from .given_statistics import affine
from .mapped_moments import as_varying, gathered_moments, pooled_moments
from .means import Reduction, masked
from .pooling import SplitMoments, pool
from .rounded_scaling import rounded
from .split_moments import Upcast, split_moments, upcasting
from .standardized import reciprocal_deviation

Array = jax.Array


def _by_moments(
    reduction: Reduction,
    upcast: Upcast,
    moments: SplitMoments,
    epsilon: Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
) -> Array:
    rstd, _ = reciprocal_deviation(moments.denominator(epsilon), moments.scale)
    mean, mean_low = moments.mean, moments.mean_low
    return affine(reduction.implementation, upcast, mean, mean_low, rstd, scale, bias, where)


def normalize_split(
    reduction: Reduction,
    names: Names,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
) -> Array:
    """Standardizes over axes that mapped axes continue, scales and shifts.

    The operands have the rank of `x`; scale and bias are the device's own part.
    """
    upcast = upcasting(masked(x, where))
    # One collective whatever its size: it is some numbers a row where the rows are the data.
    moments = pooled_moments(upcast, where, epsilon, reduction, names, gathered=math.inf)
    used = as_varying(moments, names, reduction.centred)
    return _by_moments(reduction, upcast, used, epsilon, scale, bias, where)


def normalize_split_then_round(
    reduction: Reduction,
    names: Names,
    dtype: np.dtype,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    where: Array | None,
) -> Array:
    """As :func:`normalize_split`, rounded to `dtype` before it is scaled."""
    wide = x.astype(accumulator(x.dtype))
    xhat = normalize_split(reduction, names, wide, epsilon, None, None, where)
    # The value of the rounded, the derivative of the other: the difference and the sum are exact.
    y = xhat + lax.stop_gradient(rounded(xhat, dtype) - xhat)
    return (y if scale is None else masked(y * scale, where)).astype(x.dtype)


def blocks_of(groups: int, channels: int, devices: int) -> tuple[int, int]:
    """In how many blocks a device's channels fall that lie in one group, and how many a group has.

    Args:
        groups: The groups of the channels of all devices together, which divide them.
        channels: The channels of one device.
        devices: How many devices share the channels.
    """
    group = channels * devices // groups
    block = math.gcd(channels, group) or 1
    return channels // block, group // block


def normalize_split_groups(
    reduction: Reduction,
    names: Names,
    together: int,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    bias: Array | None,
    where: Array | None,
) -> Array:
    """Standardizes groups of channels, each in `together` blocks on one device or several.

    The devices hold neighbouring channels, in the order of their positions along `names`. The axes
    are those of the last axis split in two, and so are the operands: (..., blocks, channels).
    """
    upcast = upcasting(masked(x, where))
    moments = split_moments(upcast, where, epsilon, reduction)
    parts = gathered_moments(moments, names, counted=where is not None)
    order = np.argsort(_positions(names))

    def of_a_group(array: Array) -> Array:
        """(devices, ..., blocks, 1) as (together, ..., groups, 1)."""
        array = jnp.moveaxis(array[order], 0, -3)
        *front, devices, blocks, one = array.shape
        array = array.reshape(*front, devices * blocks // together, together, one)
        return jnp.moveaxis(array, -2, 0)

    pooled = as_varying(pool(*map(of_a_group, parts)), names)
    position = position_along(names)
    blocks = x.shape[-2]
    own = (position * blocks + jnp.arange(blocks, dtype=jnp.int32)) // together
    used = SplitMoments(*(jnp.take(array, own, -2) for array in pooled))
    return _by_moments(reduction, upcast, used, epsilon, scale, bias, where)


def _positions(names: Names) -> np.ndarray:
    """The positions along `names`, the last one fastest, in the order of stacked parts."""
    sizes = list(map(axis_size, names))
    order = [names.index(name) for name in gathered_order(names)]
    return np.arange(math.prod(sizes)).reshape(sizes).transpose(order).reshape(-1)
