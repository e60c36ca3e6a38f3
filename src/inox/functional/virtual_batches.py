r"""Batch norm of groups of samples: each by its own moments (ghost batch normalization).

A batch of N samples is N / m virtual batches of m neighbouring ones,

.. math:: y_{g, i} = \frac{x_{g, i} - \mathbb{E}_i[x_g]}
    {\sqrt{\mathbb{V}_i[x_g] + \epsilon}} \gamma + \beta

so the noise that statistics of m samples bring into training stays as it was however large the
batch grows. It is :mod:`.batch` with one axis more, which is kept. What a network remembers is
the moments of all samples: those of the groups pooled by their counts (:mod:`.pooling`), which
is exact, where an average of variances would leave out how far the groups' means are apart.
"""

import dataclasses
import functools

import jax
from jax import lax

from ..kernels.explicit_sharding import alike, merge_first_axes, split_first_axis
from .batch import batch_moments, normalized
from .batch_arguments import Batch, compiled
from .mapped_moments import ANY_COUNT, pooled_parts
from .pooling import SplitMoments, pool
from .split_moments import Upcast
from .sums import is_number

Array = jax.Array


def normalized_by_groups(batch: Batch, samples: int) -> tuple[Array, SplitMoments]:
    """Each group of so many samples normalized by itself, and the moments of all, of all devices.

    The groups are those of the samples that are here; over mapped axes only the moments of all
    samples are pooled. These are constants to the derivative.
    """
    shape = batch.upcast.x.shape
    if -len(shape) not in batch.axes:
        raise ValueError(
            f"virtual_batch={samples} groups samples along the first axis of x, of shape {shape}, "
            "where the channels are. Put the samples first."
        )
    if is_number(shape[0]) and shape[0] % samples:
        raise ValueError(
            f"virtual_batch must divide the number of samples; found virtual_batch={samples} and "
            f"x of shape {shape}, with {shape[0]} samples. Choose a divisor of {shape[0]}, or "
            "leave the last, smaller batch out."
        )
    if is_number(shape[0]) and not shape[0]:  # no groups: nothing to pool
        moments = lax.stop_gradient(batch_moments(batch))
        return normalized(batch, moments), moments
    return _normalized(batch, samples)


@functools.partial(compiled, static_argnames=("samples",))
def _normalized(batch: Batch, samples: int) -> tuple[Array, SplitMoments]:
    def split(array: Array | None) -> Array | None:
        return None if array is None else split_first_axis(array, samples)

    groups = dataclasses.replace(
        batch,
        upcast=Upcast(*(split_first_axis(array, samples) for array in batch.upcast)),
        scale=split(batch.scale),
        bias=split(batch.bias),
        epsilon=batch.epsilon[None],
        where=split(batch.where),
        weights=split(batch.weights),
        names=(),
        index_groups=None,
    )
    moments = batch_moments(groups)
    y = merge_first_axes(normalized(groups, moments), batch.upcast.x)
    together = pool(*alike(*lax.stop_gradient(moments)))
    most = None if batch.where is None and batch.weights is None else ANY_COUNT
    whole = pooled_parts(together, batch.epsilon, most, batch.names, batch.index_groups)
    return y, whole
