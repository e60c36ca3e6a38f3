r"""The gradients of rows of a few numbers in a half type: groups of channels at each position.

XLA's compiler for GPUs makes one kernel of dx (x and dy are read, dx is written), but of the terms
of dscale an array of their own, in float32: 12 arrays of the size of x cross memory in bfloat16.
Here the statistics of the rows are written, and what is summed for the parameters is formed of them
while it is summed: 7.6 for groups of 8 (docs/platforms.md). They are formed element by element of
the row, which are so few that they stand side by side in the code: as reductions they would be
three kernels that each read x. In float32 the same is 6.8 in place of 8 by itself, but beside y the
compiler no longer keeps dx in one kernel (16.8 for both, in place of 15.6), and in a training step
9.8 are no gain on 10: there the formulas stay.

The numbers are those of :mod:`...functional.standardized`: the mean :math:`m`, what its rounding
left, :math:`c = \langle x - m \rangle`, and the mean square of :math:`d = (x - m) - c`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..arithmetic import levelled, scale_of_squares
from ..kernel import Axes
from ..pilot import Slices, gradients, size_of
from .joint_sums import total

Array = jax.Array

# So many elements stand side by side.
LONGEST = 16


def is_short(x: Array, axes: Axes) -> bool:
    """Whether slices are rows of a few numbers of a half type, of which there are several."""
    short = 1 < size_of(x, axes) <= LONGEST and x.dtype.itemsize == 2
    return short and tuple(axes) == (-1,) and x.ndim > 1


def _added(terms: Sequence[Array]) -> Array:
    """Sums in pairs of what stands side by side."""
    while len(terms) > 1:
        pairs = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, terms[-1]] if len(terms) % 2 else pairs
    return terms[0]


def _side_by_side(x: Array) -> Slices:
    """The moments of rows, of their elements one by one."""
    length = x.shape[-1]
    number = jnp.asarray(length, x.dtype)
    small = jnp.asarray(scale_of_squares(length), x.dtype)
    elements = [lax.slice_in_dim(x, i, i + 1, axis=x.ndim - 1) for i in range(length)]
    mean = _added(elements) / number
    apart = [element - mean for element in elements]
    offset = _added(apart) / number
    squares = [lax.square((d - offset) * small) for d in apart]
    return Slices(mean, offset, _added(squares) / number / lax.square(small))


def _along(x: Array) -> Slices:
    """The same by reductions, which with a map after them are one kernel."""
    number = jnp.asarray(x.shape[-1], x.dtype)
    small = jnp.asarray(scale_of_squares(x.shape[-1]), x.dtype)
    mean = jnp.sum(x, -1, keepdims=True) / number
    apart = x - mean
    offset = jnp.sum(apart, -1, keepdims=True) / number
    square = jnp.sum(lax.square((apart - offset) * small), -1, keepdims=True)
    return Slices(mean, offset, square / number / lax.square(small))


def _with_products(found: Slices, g: Array, x: Array) -> Slices:
    """The same with the means of g and of g times the deviation."""
    number = jnp.asarray(x.shape[-1], x.dtype)
    of_g = jnp.sum(g, -1, keepdims=True) / number
    of_product = jnp.sum(g * found.deviation(x), -1, keepdims=True) / number
    return found._replace(of_g=of_g, of_product=of_product)


def gradients_of_short_rows(
    *,
    dy: Array,
    x: Array,
    epsilon: Array,
    scale: Array | None = None,
    outputs: tuple[tuple[str, Axes], ...],
) -> tuple[Array, ...]:
    """The gradients that `outputs` lists: of x, and of scale and bias, summed over axes."""
    wide, g = x.astype(epsilon.dtype), dy.astype(epsilon.dtype)
    written = _side_by_side(wide)
    rstd = written.reciprocal_deviation(epsilon)[0]
    factor = levelled(rstd, written.variance, written.pilot)
    # Written, and not formed again for each element of the sums.
    pilot, offset, factor = lax.optimization_barrier((written.pilot, written.offset, factor))
    results: list[Array] = []
    for name, shared in outputs:
        if name == "x_tangent":
            of_x = _with_products(_along(wide), g if scale is None else g * scale, wide)
            results += gradients(of_x, dy, x, epsilon, scale, ((name, shared),), total)
            continue
        xhat = ((wide - pilot) - offset) * factor
        results.append(total(g * xhat if name == "scale_tangent" else g, shared))
    return tuple(results)
