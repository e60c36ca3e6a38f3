r"""Count, mean and variance as the user sees them, pooled over devices and batches.

The moments of one array are those of :mod:`.split_moments`.

**Pooling** (Chan, Golub & LeVeque 1983). Parts with counts :math:`n_i`, means :math:`m_i` and
variances :math:`v_i` have together

.. math:: m = \sum_i \frac{n_i}{n} m_i, \qquad
    v = \sum_i \frac{n_i}{n} \left( v_i + (m_i - m)^2 \right)

where no two large numbers are subtracted but the means themselves.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.arithmetic import accumulator
from ..kernels.backends import check_implementation
from ..kernels.kernel import Axes
from ..kernels.mapped_axes import Names
from .arguments import AxisName, bound_names, mask_operand, negative_axes
from .array_arguments import ArrayLike, floating
from .mapped_moments import pooled_moments
from .means import Reduction, masked
from .pooling import SplitMoments, pool
from .sample_weight_arguments import check_weights_by, weights_operand
from .scalar_arguments import check_not_negative, check_switch
from .split_moments import upcasting
from .weighted_moments import without_nonfinite

Array = jax.Array


class Moments(NamedTuple):
    """How many elements, their mean and their (biased) variance: three arrays of one shape.

    Args:
        count: The number of elements, as a floating-point number.
        mean: Their mean; 0 where the count is 0.
        var: Their biased variance; 0 where the count is 0.

    Example:
        >>> Moments(count=2.0, mean=1.0, var=4.0).var
        4.0
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride] (hides tuple.count)
    mean: Array
    var: Array


def moments(
    x: ArrayLike,
    axis: int | Sequence[int],
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    axis_name: AxisName = None,
    keepdims: bool = False,
    implementation: str | None = None,
) -> Moments:
    r"""Computes count, mean and biased variance along axes.

    .. math:: n = \sum_i w_i, \qquad m = \frac{1}{n} \sum_i w_i x_i, \qquad
        v = \frac{1}{n} \sum_i w_i (x_i - m)^2

    Args:
        x: The input, of any shape and real dtype.
        axis: The axis or axes to reduce.
        where: A boolean mask with the rank of `x`, of the elements that take part.
        weights: How much each element counts (:math:`w`, 1 without): numbers from 0 on with the
            rank of `x`, of its sizes or 1. Where one is 0 the element may hold anything.
        axis_name: Names of mapped axes (`vmap`, `shard_map`) to pool over as well, by count.
        keepdims: Whether reduced axes are kept with size 1.
        implementation: `"xla"`, `"cpu"`, `"tpu"`, or None for the best one of the platform.

    Returns:
        The moments, in float32 (float64 for float64 input). The count is the sum of the weights.
        Where nothing takes part, all three are 0.

    Raises:
        TypeError: If `x` is complex, `where` isn't boolean or `weights` are.
        ValueError: If an axis is out of range or repeated, `where` or `weights` do not broadcast,
            a weight is negative or not finite, `axis_name` is not bound or the implementation not
            there.

    Example:
        >>> count, mean, var = moments(jax.numpy.array([3001.0, 3002.0, 3003.0]), axis=0)
        >>> print(count, mean, var)
        3.0 3002.0 0.6666667
        >>> print(
        ...     *moments(jax.numpy.array([1.0, 3.0]), axis=0, weights=jax.numpy.array([3.0, 1.0]))
        ... )
        4.0 1.5 0.75

    References:
        | Algorithms for Computing the Sample Variance (Chan et al., 1983)
        | https://doi.org/10.1080/00031305.1983.10483115
    """
    check_implementation(implementation, where)
    check_weights_by(implementation, weights)
    check_switch(keepdims, "keepdims")
    x = floating(x)
    axes = negative_axes(axis, x.shape)
    mask = mask_operand(where, x)
    shares = weights_operand(weights, x, accumulator(x.dtype))
    reduction = Reduction(axes, implementation=implementation)
    return _moments(x, mask, shares, reduction, bound_names(axis_name), keepdims)


@functools.partial(jax.jit, static_argnums=(3, 4, 5), inline=True)
def _moments(
    x: Array,
    where: Array | None,
    weights: Array | None,
    reduction: Reduction,
    names: Names,
    keepdims: bool,
) -> Moments:
    """What follows the checks: one program, also outside of the caller's compiled code."""
    # Before anything reads it: NaN there would stop a search for NaN.
    x = masked(x, where) if weights is None else without_nonfinite(x, weights, where)
    pooled = pooled_moments(upcasting(x), where, None, reduction, names, weights=weights)
    return public_moments(pooled, () if keepdims else reduction.axes)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def public_moments(moments: SplitMoments, axes: Axes) -> Moments:
    """Count, mean and variance with `axes` removed."""
    arrays = moments.count, moments.mean + moments.mean_low, moments.var
    return Moments(*(jnp.squeeze(array, axes) for array in arrays))


def merge_moments(*moments: Moments) -> Moments:
    r"""Pools moments of separate data into the moments of all of it.

    .. math:: n = \sum_i n_i, \qquad m = \sum_i \frac{n_i}{n} m_i, \qquad
        v = \sum_i \frac{n_i}{n} \left( v_i + (m_i - m)^2 \right)

    Args:
        moments: Moments of one shape and dtype each; those with count 0 change nothing.

    Returns:
        The pooled moments.

    Raises:
        TypeError: If an argument isn't a :class:`Moments`.
        ValueError: If there is none, or their shapes differ.

    Example:
        >>> x = jax.numpy.arange(8.0)
        >>> parts = moments(x[:2], axis=0), moments(x[2:], axis=0)
        >>> print(*merge_moments(*parts))
        8.0 3.5 5.25

    References:
        | Algorithms for Computing the Sample Variance (Chan et al., 1983)
        | https://doi.org/10.1080/00031305.1983.10483115
    """
    if not moments:
        raise ValueError("moments is empty; give at least one Moments(count, mean, var).")
    for item in moments:
        if not isinstance(item, Moments):
            raise TypeError(
                f"moments must be Moments(count, mean, var); found {type(item).__name__}. Unpack "
                "a list with merge_moments(*items)."
            )
        for name, leaf in zip(("count", "var"), (item.count, item.var), strict=True):
            check_not_negative(leaf, f"moments {name}", "Take what moments() returned.")
    moments = tuple(Moments(*map(floating, item, item._fields)) for item in moments)
    shapes = {np.shape(leaf) for item in moments for leaf in item}
    if len(shapes) > 1:
        raise ValueError(
            f"moments must have one shape; found {sorted(shapes)}. Reduce the same axes in each."
        )
    number, mean, var = (jnp.stack(leaves) for leaves in zip(*moments, strict=True))
    return public_moments(pool(number, mean, jnp.zeros_like(mean), var, jnp.ones_like(var)), ())
