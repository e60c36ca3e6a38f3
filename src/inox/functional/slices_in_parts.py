r"""Normalization of slices that several devices hold parts of: what they do together.

:mod:`.normalize` under `jit`, where the split of an array becomes known when the program is
lowered. Forward, the devices exchange the moments of their parts. Backward, the formula has the
moments again, and two sums over a slice, about its mean:

.. math:: \sum g, \qquad \sum g (x - m) = \sum_i \left(
    \sum_{j \in i} g_j (x_j - m_i) + (m_i - m) \sum_{j \in i} g_j \right)

with the mean :math:`m_i` of a part. Those of a part need nothing of the others, so they are
exchanged beside its moments: one collective, as forward, and nothing is kept in between.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.kernel import Axes, Outputs, Run, Split, names_of
from ..kernels.mapped_axes import Names
from ..kernels.primitive import apply
from .means import Reduction, masked, size
from .pooling import SplitMoments, pool
from .pooling_over_devices import gathered_in_lowering, pool_squares
from .split_moments import CENTRED_SUMS, centre, split_moments, upcasting
from .standardized import Standardized, epsilon_factor, projected, reciprocal_deviation
from .sums import sum_along

Array = jax.Array


def _standardized(
    x: Array,
    epsilon: Array,
    where: Array | None,
    reduction: Reduction,
    names: Names,
    weights: Array | None = None,
) -> tuple[Standardized, Array, Array]:
    """A part, standardized by the moments of whole slices; sums of `weights` over those.

    The sums are those of the weights, and of the weights times x minus the mean.
    """
    part = split_moments(upcasting(x), where, epsilon, reduction)
    sums: tuple[Array, ...] = ()
    if weights is not None:
        sums = apply(
            CENTRED_SUMS,
            reduction._asdict(),
            t=weights,
            x=x,
            mean=part.mean,
            mean_low=part.mean_low,
            where=where,
        )
    if not reduction.centred:
        most = None if where is None else size(x.shape, reduction.axes)
        whole, *product = pool_squares(part, epsilon, most, names, *sums[1:])
        sums = (jnp.zeros_like(part.mean), *product)
    else:
        whole, sums = _gathered(part, sums, names, counted=where is not None)
    deviation = centre(x, whole.mean, whole.mean_low, where)
    rstd, denominator = reciprocal_deviation(whole.denominator(epsilon), whole.scale)
    count = jnp.maximum(whole.count, jnp.ones_like(whole.count))
    along, product = sums if weights is not None else (count, count)
    standard = Standardized(deviation, rstd, denominator, whole.scale, count, where, rstd)
    return standard, along, product


def _gathered(
    part: SplitMoments, sums: tuple[Array, ...], names: Names, *, counted: bool
) -> tuple[SplitMoments, tuple[Array, ...]]:
    """The moments of whole slices, and the sums about their means, by one collective."""
    count, *others = part
    sent = (*others, *sums, *([count] if counted else []))
    mean, mean_low, scaled, scale, *rest = gathered_in_lowering(sent, names)
    counts = rest.pop() if counted else jnp.broadcast_to(count, mean.shape)
    whole = pool(counts, mean, mean_low, scaled, scale)
    if not sums:
        return whole, ()
    along, product = rest
    distance = (mean - whole.mean[None]) + (mean_low - whole.mean_low[None])
    product = product + masked(distance, counts > 0) * along
    return whole, (jnp.sum(along, 0), jnp.sum(product, 0))


def normalized_together(
    *, axes: Axes, centred: bool, implementation: str | None
) -> Callable[[Split], Run | None]:
    """How devices normalize slices that are split; None where each has whole ones."""
    reduction = Reduction(axes, centred, implementation)

    def together(split: Split) -> Run | None:
        names = names_of(axes, split)
        if not names:
            return None

        def run(
            *,
            x: Array,
            epsilon: Array,
            scale: Array | None = None,
            bias: Array | None = None,
            where: Array | None = None,
        ) -> tuple[Array]:
            standard, _, _ = _standardized(x, epsilon, where, reduction, names)
            y = standard.xhat if scale is None else standard.xhat * scale
            y = y if bias is None else y + bias
            return (masked(y, where).astype(x.dtype),)

        return run

    return together


def cotangent_together(
    *,
    axes: Axes,
    centred: bool,
    implementation: str | None,
    outputs: Outputs,
) -> Callable[[Split], Run | None]:
    """How devices compute the gradients of slices that are split; None where each has whole ones.

    Args:
        axes: The axes of a slice.
        centred: Whether the mean is subtracted.
        implementation: What carries out the operations on a part.
        outputs: The names of the gradients, and over which axes each is summed.
    """
    reduction = Reduction(axes, centred, implementation)

    def together(split: Split) -> Run | None:
        names = names_of(axes, split)
        if not names:
            return None

        def run(
            *,
            dy: Array,
            x: Array,
            epsilon: Array,
            scale: Array | None = None,
            where: Array | None = None,
        ) -> tuple[Array, ...]:
            wide = masked(dy.astype(epsilon.dtype), where)
            dxhat = wide if scale is None else wide * scale
            standard, along, product = _standardized(x, epsilon, where, reduction, names, dxhat)
            results = {
                name: _gradient(name, shared, wide, dxhat, standard, along, product, axes)
                for name, shared in outputs
            }
            if "x_tangent" in results:
                results["x_tangent"] = results["x_tangent"].astype(x.dtype)
            return _summed(results, outputs, axes, split)

        return run

    return together


def _gradient(
    name: str,
    shared: Axes,
    dy: Array,
    dxhat: Array,
    standard: Standardized,
    along: Array,
    product: Array,
    axes: Axes,
) -> Array:
    """One of the gradients of :mod:`.normalize`, from the sums of dxhat over whole slices."""
    if name == "x_tangent":
        return projected(dxhat, standard, along / standard.count, product / standard.count)
    if name == "epsilon_tangent":
        return sum_along(product * standard.rstd * epsilon_factor(standard.rstd), shared)
    return sum_along(dy * standard.xhat if name == "scale_tangent" else dy, shared)


def _summed(
    results: dict[str, Any], outputs: Outputs, axes: Axes, split: Split
) -> tuple[Array, ...]:
    """With gradients of parameters summed over the devices that share them, at once."""
    over: dict[Names, list[str]] = {}
    for name, shared in outputs:
        if name == "epsilon_tangent":  # from sums over whole slices
            shared = tuple(axis for axis in shared if axis not in axes)
        if name != "x_tangent" and names_of(shared, split):
            over.setdefault(names_of(shared, split), []).append(name)
    for names, those in over.items():
        summed = lax.psum(tuple(results[name] for name in those), names)
        results |= dict(zip(those, summed, strict=True))
    return tuple(results[name] for name, _ in outputs)
