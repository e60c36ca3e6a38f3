"""Spectral norm: a kernel over its largest singular value, with vectors that are handed on."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels.kernel import Axes
from .array_arguments import ArrayLike, floating
from .guarded import times_power
from .means import size
from .power_iteration import Iterated, iterate, unit
from .reciprocal_root import quotient
from .scalar_arguments import positive_integer
from .singular_value import singular_value
from .unit_range import near_one
from .weight_arguments import channel_axes, check_key, check_vectors, number_of_steps

Array = jax.Array


class SpectralState(NamedTuple):
    r"""What a power iteration hands on, and how far what it found can be from the truth.

    Args:
        inputs: A unit vector with an entry for each input of the matrix (a position of a
            convolution's window and a channel).
        outputs: A unit vector with an entry for each output channel.
        sigma: The singular value that belongs to them; up to rounding it is at most the largest
            one. Infinity where it is beyond the largest number of its dtype; the kernel is divided
            by the true one all the same.
        distance: One of the singular values lies within this distance of `sigma` (0 counts as
            one where the matrix isn't square). It does not tell which: after few steps, or from
            an unlucky start, it may not be the largest.
        ceiling: No singular value is larger, whatever the vectors are. It is near `sigma` where
            few singular values are large, and several times as large where most are.

    Example:
        >>> SpectralState(1.0, 1.0, sigma=3.0, distance=0.1, ceiling=3.2).sigma
        3.0
    """

    inputs: Array
    outputs: Array
    sigma: Array
    distance: Array
    ceiling: Array


def spectral_state(
    w: ArrayLike, *, key: Array | None = None, axis: int | Sequence[int] = -1, steps: int = 16
) -> SpectralState:
    r"""The state that the first call of :func:`spectral_norm` takes.

    Power iteration starts from a vector drawn from the normal distribution. It has a part of the
    leading singular vector (but for a probability of 0), of which each step multiplies the share
    by :math:`(\sigma_1 / \sigma_2)^2`.

    Args:
        w: A kernel, with shape :math:`(*, I, O)`.
        key: A key of `jax.random`. None draws the same vector each time.
        axis: The axis or axes of the output channels, as in :func:`spectral_norm`.
        steps: How many steps to take, at least 1.

    Returns:
        The state, in float32 (float64 for float64); no gradient goes through it.

    Raises:
        TypeError: If `w` holds no real numbers, `axis` or `steps` no integers, or `key` is no key.
        ValueError: If an axis is out of range or repeated, none is left beside it, or `steps` is
            below 1.

    Example:
        >>> state = spectral_state(jax.numpy.diag(jax.numpy.array([2.0, 1.0])))
        >>> print(f"{state.sigma:.3f} {abs(state.outputs[0]):.3f}")
        2.000 1.000

    References:
        | Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018)
        | https://arxiv.org/abs/1802.05957
    """
    w = floating(w, "w")
    kept, _ = channel_axes(axis, w.shape, "w")
    check_key(key)
    start = jax.random.key(0) if key is None else key
    return _spectral_state(w, start, kept, positive_integer(steps, "steps"))


def spectral_norm(
    w: ArrayLike, state: SpectralState, *, steps: int = 1, axis: int | Sequence[int] = -1
) -> tuple[Array, SpectralState]:
    r"""Divides a kernel by its largest singular value.

    .. math:: \bar w = \frac{w}{\sigma}, \qquad p \leftarrow \frac{A q}{\lVert A q \rVert}, \qquad
        \sigma = \lVert A^T p \rVert, \qquad q \leftarrow \frac{A^T p}{\sigma}

    where A is the kernel as a matrix, inputs by outputs. For a convolution this is the matrix of
    its kernel, as in the paper, not that of the whole map, whose norm may be larger.

    The state is an array like any other: `state.sigma` is a lower bound of the largest singular
    value, `state.ceiling` an upper one, and `state.distance` tells how near `sigma` is to one of
    them. A kernel of zeros gives 0, with a gradient of 0. Where the vectors are of no use (0 or
    NaN, or orthogonal to all of the kernel), the longest column takes their place.

    The gradient is that of :math:`w / \sigma(w)`: with :math:`\dot\sigma = p^T \dot A q`, in which
    the vectors are constants. It is exact where they have converged, and so are derivatives of
    higher order, for which the vectors are functions of the kernel (solved for by conjugate
    gradients, when such a derivative is taken).

    Args:
        w: A kernel, with shape :math:`(*, I, O)`.
        state: What :func:`spectral_state` or the last call returned.
        steps: How many steps to take: 1 while training, when the kernel changes little from call
            to call. 0 takes none, for evaluation: :math:`\sigma = \lVert A^T p \rVert`, and the
            vectors of the next state are those of `state`.
        axis: The axis or axes of the output channels. Kernels that are stacked are mapped over,
            with `jax.vmap`, each with a state of its own.

    Returns:
        The kernel, with the shape and dtype of `w`, and the state for the next call.

    Raises:
        TypeError: If `w` holds no real numbers, `axis` or `steps` no integers, or `state` is no
            :class:`SpectralState`.
        ValueError: If an axis is out of range or repeated, none is left beside it, the state does
            not fit the kernel, or `steps` is negative.

    Example:
        >>> w = jax.numpy.diag(jax.numpy.array([2.0, 1.0]))
        >>> w, state = spectral_norm(w, spectral_state(w))
        >>> print(w.round(3))
        [[1.  0. ]
         [0.  0.5]]

    References:
        | Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018)
        | https://arxiv.org/abs/1802.05957
    """
    w = floating(w, "w")
    kept, others = channel_axes(axis, w.shape, "w")
    check_vectors(state, SpectralState, w.shape, (others, kept))
    steps = number_of_steps(steps)
    return _spectral_norm(w, state.inputs, state.outputs, kept, steps)


def _matrix(w: Array, kept: Axes) -> Array:
    """A kernel as a matrix, inputs by outputs: no copy where the outputs are last."""
    last = jnp.moveaxis(w, kept, range(-len(kept), 0))
    return jnp.reshape(last, (-1, size(w.shape, kept)))


def _public(found: Iterated, power: Array) -> SpectralState:
    """The state in units of the kernel, which was multiplied by a power of two."""
    lengths = (length / power for length in (found.sigma, found.distance, found.ceiling))
    return SpectralState(found.inputs, found.outputs, *lengths)


@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)
def _spectral_state(w: Array, key: Array, kept: Axes, steps: int) -> SpectralState:
    matrix, power = near_one(lax.stop_gradient(_matrix(w, kept)), (-2, -1))
    outputs = jax.random.normal(key, matrix.shape[1:], matrix.dtype)
    nothing = jnp.zeros(matrix.shape[:1], matrix.dtype)
    return _public(iterate(matrix, nothing, unit(outputs), steps), power[0, 0])


@functools.partial(jax.jit, static_argnums=(3, 4), inline=True)
def _spectral_norm(
    w: Array, inputs: Array, outputs: Array, kept: Axes, steps: int
) -> tuple[Array, SpectralState]:
    """In units of a power of two near the largest entry, which cancels from the quotient."""
    matrix, power = near_one(_matrix(w, kept), (-2, -1))
    p, q = (lax.stop_gradient(each).astype(matrix.dtype) for each in (inputs, outputs))
    found = iterate(lax.stop_gradient(matrix), p, q, steps)
    zero = found.sigma == jnp.zeros_like(found.sigma)
    sigma = singular_value(matrix, found.inputs, found.outputs, found.sigma)
    divisor = jnp.where(zero, jnp.ones_like(sigma), sigma)
    scaled = times_power(w.astype(matrix.dtype), jnp.reshape(power, (1,) * w.ndim))
    y = quotient(scaled, jnp.broadcast_to(divisor, scaled.shape))
    y = jnp.where(zero, jnp.zeros_like(y), y)
    state = _public(found, power[0, 0])
    if not steps:  # the vector that the estimate finds is half a step ahead
        state = state._replace(inputs=lax.stop_gradient(inputs), outputs=lax.stop_gradient(outputs))
    return y.astype(w.dtype), state
