"""Observations by the statistics of a stream, and back."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..functional.pooling import nonzero
from ..functional.scalar_arguments import check_epsilon
from ..kernels.arithmetic import accumulator
from .arguments import check_clip, check_stream, leaves_as
from .stream import Stream

Array = jax.Array


def normalize(stream: Stream, tree: Any, *, epsilon: Any, clip: Any = None) -> Any:
    r"""Standardizes observations by what the stream has seen.

    .. math:: y = \frac{x - m}{\sqrt{v + \epsilon}}

    Elements of which nothing was seen yet have mean 0 and variance 1. Those that never varied (one
    observation is enough) have variance 0: they are divided by the root of epsilon, and `clip`
    keeps what comes of an observation that differs small. With epsilon 0 they are not divided: the
    number that was seen becomes 0, another one x - m.

    Args:
        stream: The statistics.
        tree: Observations, a tree like the stream's, with any axes in front.
        epsilon: A small number, added to the variance. It takes no gradient.
        clip: The largest absolute value of a result; None clips nothing. It takes no gradient.

    Returns:
        A tree like `tree`, each leaf in its own dtype.

    Raises:
        TypeError: If `stream` isn't a stream, or a leaf isn't floating-point.
        ValueError: If a structure or shape does not fit the stream's, `epsilon` is negative or
            `clip` not positive.

    Example:
        >>> import jax.numpy as jnp, inox.streaming as streaming
        >>> stream = streaming.update(streaming.init(jnp.zeros(())), jnp.array([1.0, 3.0]))
        >>> print(normalize(stream, jnp.array([1.0, 2.0, 99.0]), epsilon=0.0, clip=5.0))
        [-1.  0.  5.]
    """
    leaves = _checked(stream, tree, epsilon)
    check_clip(clip)
    return _mapped(_normalized, stream, tree, leaves, epsilon, clip)


def denormalize(stream: Stream, tree: Any, *, epsilon: Any = 0.0) -> Any:
    r"""Maps standardized numbers back to the units of the stream.

    .. math:: x = m + y \sqrt{v + \epsilon}

    Args:
        stream: The statistics.
        tree: Standardized numbers, a tree like the stream's, with any axes in front.
        epsilon: The number given to :func:`normalize`, whose inverse this is then (but for what
            was clipped, or never varied with epsilon 0). Without it the numbers get the deviation
            of the stream, which is 0 where nothing varied: the mean comes back.

    Returns:
        A tree like `tree`, each leaf in its own dtype.

    Raises:
        TypeError: If `stream` isn't a stream, or a leaf isn't floating-point.
        ValueError: If a structure or shape does not fit the stream's, or `epsilon` is negative.

    Example:
        >>> import jax.numpy as jnp, inox.streaming as streaming
        >>> stream = streaming.update(streaming.init(jnp.zeros(())), jnp.array([1.0, 5.0]))
        >>> print(denormalize(stream, jnp.array([-1.0, 0.0, 2.0])))
        [1. 3. 7.]
    """
    return _mapped(_restored, stream, tree, _checked(stream, tree, epsilon), epsilon, None)


def _checked(stream: Stream, tree: Any, epsilon: Any) -> list[Array]:
    shapes = check_stream(stream, "stream")
    check_epsilon(epsilon)
    return list(leaves_as(tree, shapes, stream.mean, "tree").values())


def _mapped(
    function: Callable[..., Array],
    stream: Stream,
    tree: Any,
    leaves: list[Array],
    epsilon: Any,
    clip: Any,
) -> Any:
    means, lows, counts, variances = (
        jax.tree.leaves(field) for field in (stream.mean, stream.mean_low, stream.count, stream.var)
    )
    moments = zip(means, lows, counts, variances, strict=True)
    found = [function(x, *m, epsilon, clip) for x, m in zip(leaves, moments, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(tree), found)


def _wide(x: Array, *moments: Array) -> tuple[Array, ...]:
    """In the dtype of the statistics, or that of x where it has more digits; of the rank of x."""
    dtype = jnp.promote_types(accumulator(x.dtype), moments[0].dtype)
    aligned = (jnp.reshape(m, (1,) * (x.ndim - m.ndim) + m.shape) for m in moments)
    return x.astype(dtype), *(lax.stop_gradient(m.astype(dtype)) for m in aligned)


def _deviation(count: Array, var: Array, epsilon: Any) -> Array:
    var = jnp.where(count > 0, var, jnp.ones_like(var))
    return jnp.sqrt(var + lax.stop_gradient(jnp.asarray(epsilon)).astype(var.dtype))


@functools.partial(jax.jit, inline=True)
def _normalized(
    x: Array, mean: Array, low: Array, count: Array, var: Array, epsilon: Any, clip: Any
) -> Array:
    wide, mean, low, count, var = _wide(x, mean, low, count, var)
    deviation = _deviation(count, var, epsilon)
    centred = (wide - mean) - low
    # With epsilon 0, what never varied has deviation 0. Its own number gives 0 rather than 0 / 0,
    # and one that differs stays finite: it is centred, in the units of the observations.
    y = centred / nonzero(deviation)
    if clip is not None:
        limit = lax.stop_gradient(jnp.asarray(clip)).astype(y.dtype)
        y = jnp.clip(y, -limit, limit)
    return y.astype(x.dtype)


@functools.partial(jax.jit, inline=True)
def _restored(
    y: Array, mean: Array, low: Array, count: Array, var: Array, epsilon: Any, clip: Any
) -> Array:
    wide, mean, low, count, var = _wide(y, mean, low, count, var)
    return (mean + (low + wide * _deviation(count, var, epsilon))).astype(y.dtype)
