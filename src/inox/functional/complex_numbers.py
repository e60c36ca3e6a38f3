r"""Normalization of complex numbers: real and imaginary part about their own means, one spread.

.. math:: m = \langle x \rangle, \qquad v = \langle |x - m|^2 \rangle
    = \mathbb{V}[\Re x] + \mathbb{V}[\Im x], \qquad
    y = \frac{x - m}{\sqrt{v + \epsilon}} \gamma + \beta

The functions of this package take real numbers, as most networks have no other; the few that
frameworks accept go through here. The two parts are normalized as two real arrays by the moments
of both.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .batch import batch_moments, given_moments, normalized
from .batch_arguments import checked_batch
from .moments import Moments, public_moments

Array = jax.Array


def normalize_complex(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    axis: Sequence[int],
    statistics: tuple[Array, Array] | None = None,
    where: Array | None = None,
    **settings: Any,
) -> tuple[Array, Moments]:
    """Normalizes a complex array over axes, by its own statistics or given ones.

    Args:
        x: The array.
        scale: The scale, real or complex, with the rank of `x`; None for 1.
        bias: The bias, likewise; None for 0.
        axis: The axes over which mean and variance are calculated.
        statistics: A complex mean and a real variance to use instead.
        where: A boolean mask with the rank of `x`.
        settings: What :func:`.batch_arguments.checked_batch` takes besides.

    Returns:
        The output, in the dtype of `x`, and the moments: count, complex mean, real variance.
    """
    axes = tuple(a if a < 0 else a - x.ndim for a in axis)
    parts = jnp.stack([jnp.real(x), jnp.imag(x)])
    mask = None if where is None else where[None]
    batch = checked_batch(parts, None, None, axis=axes, where=mask, **settings)
    if statistics is None:
        moments = public_moments(batch_moments(batch), axes)
        var = moments.var[0] + moments.var[1]
        moments = Moments(
            jnp.broadcast_to(moments.count, (2, *var.shape))[0],
            lax.complex(moments.mean[0], moments.mean[1]),
            var,
        )
    else:
        mean, var = statistics
        moments = Moments(jnp.zeros_like(var), mean + jnp.zeros((), x.dtype), var)
    both = jnp.stack([jnp.real(moments.mean), jnp.imag(moments.mean)])
    used = given_moments(batch, (both, jnp.stack([moments.var, moments.var])))
    real, imaginary = normalized(batch, used, given=True)
    y = lax.complex(real, imaginary)
    y = y if scale is None else y * scale.astype(y.dtype)
    return y if bias is None else y + bias.astype(y.dtype), moments
