"""y and dx in float64 on the host, by NumPy, and errors against them in units in the last place."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .hard_inputs import Operands
from .layers import Layer

Arrays = np.ndarray[Any, Any]


class Exact(NamedTuple):
    """The results, and for each the size below which its own unit says nothing of the arithmetic.

    Args:
        y: The output.
        dx: The gradient of x.
        y_floor: The scale.
        dx_floor: The size of the slice's gradient, rstd · rms(dy · scale).
    """

    y: Arrays
    dx: Arrays
    y_floor: Arrays
    dx_floor: Arrays


def summed(x: Arrays) -> Arrays:
    """x and its residual added up, in float32: that is what a norm of a sum is given."""
    wide = x.astype(np.float32)
    return wide + np.roll(wide, 1, -1)


def exact(layer: Layer, given: Operands) -> Exact:
    """What a norm and its gradient are, to 1e-15 or so, from the operands as they were rounded."""
    given = given._replace(x=summed(given.x)) if layer.adds else given
    x, dy, scale, bias, epsilon = (np.asarray(array, np.float64) for array in given)
    shape, view = x.shape, layer.view(x.shape)

    def mean(array: Arrays) -> Arrays:
        return np.mean(array, axis=layer.axes, keepdims=True)

    deviation = x.reshape(view)
    if layer.centred:
        # Twice: the mean is rounded, and where it is large the rounding shows.
        deviation = deviation - mean(deviation)
        deviation = deviation - mean(deviation)
    denominator = mean(deviation * deviation) + epsilon
    rstd = np.divide(1, np.sqrt(denominator), where=denominator > 0, out=np.zeros_like(denominator))
    xhat = deviation * rstd
    weighted = (dy * scale).reshape(view)
    dx = weighted - xhat * mean(xhat * weighted)
    if layer.centred:
        dx = dx - mean(weighted)
    floor = np.broadcast_to(rstd * np.sqrt(mean(weighted * weighted)), view)
    y = xhat.reshape(shape) * scale
    return Exact(
        y=y + bias if layer.centred else y,
        dx=(dx * rstd).reshape(shape),
        y_floor=np.broadcast_to(np.abs(scale), shape),
        dx_floor=floor.reshape(shape),
    )


def ulp(size: Arrays, dtype: Any) -> Arrays:
    """The distance between the neighbours of a number in a dtype."""
    of = jnp.finfo(dtype)
    _, exponent = np.frexp(np.abs(size))
    # frexp gives a mantissa below 1, and below the least normal number all units are equal.
    return np.ldexp(1.0, np.maximum(exponent - 1, int(of.minexp)) - int(of.nmant))


def worst_error(actual: Any, right: Arrays, floor: Arrays) -> float:
    """The largest error in units of the larger of result and floor; infinity for NaN.

    An infinite result is right where the exact one is beyond the dtype's largest number.
    """
    array = np.asarray(actual)
    dtype, wide = array.dtype, array.astype(np.float64)
    overflown = np.isinf(wide) & (np.abs(right) >= float(jnp.finfo(dtype).max))
    overflown &= np.sign(wide) == np.sign(right)
    with np.errstate(invalid="ignore"):
        error = np.abs(wide - right) / ulp(np.maximum(np.abs(right), floor), dtype)
    error = np.where(overflown, 0, error)
    return float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays are equal to the last bit, signs of zero and NaN included."""
    one, other = (np.ascontiguousarray(array) for array in (one, other))
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def errors(layer: Layer, given: Operands, y: Any, dx: Any) -> dict[str, float]:
    """The worst errors of y and dx."""
    right = exact(layer, given)
    return {
        "y": worst_error(y, right.y, right.y_floor),
        "dx": worst_error(dx, right.dx, right.dx_floor),
    }
