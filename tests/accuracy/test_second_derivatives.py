"""Second derivatives at extreme spreads: no power of rstd above the second may be formed.

With a spread of 1e14, rstd cubed is 1e-42 and below the range of float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.accuracy.checking import EACH_IMPLEMENTATION
from tests.accuracy.layouts import LAYOUTS
from tests.accuracy.metric import ulp, worst
from tests.accuracy.oracle import Wide, widened

# That of dx.
BOUND = 8.0


def exact_product(layout, x, dy, scale, bias, direction):
    """The Hessian of sum(y * dy) times a direction: a central difference of the exact dx.

    In extended precision: with a step of 1e-6 spreads, the error of the difference is 1e-12 of
    the result, and that of rounding dx, 1e-13.
    """
    step = Wide(2.0**-20)
    x, direction = widened(x), widened(direction)
    dx = [layout.exact(x + side * step * direction, dy, scale, bias, 0.0).dx for side in (1, -1)]
    return (dx[0] - dx[1]) / (2 * step)


@pytest.fixture
def problem(name, std, implementation, rng):
    """A gradient to differentiate again, x, a direction of the size of x and the exact product."""
    layout = LAYOUTS[name]
    shape = layout.slices.shape
    x, direction = (std * rng.standard_normal((2, *shape))).astype(np.float32)
    dy = rng.standard_normal(shape).astype(np.float32)
    scale, bias = rng.uniform(0.5, 2, (2, *layout.parameter_shape)).astype(np.float32)

    def gradient(x):
        return jax.grad(
            lambda x: jnp.vdot(layout.call(x, scale, bias, jnp.float32(0), implementation), dy)
        )(x)

    exact = exact_product(layout, x, dy, scale, bias, direction)
    size = typical_size(layout, x, dy * scale, direction)
    return gradient, x, direction, exact, ulp(np.maximum(np.abs(exact), size), np.float32)


def typical_size(layout, x, slope, direction):
    """The size of what a product is the sum of: rstd² rms(slope) rms(direction).

    In a slice where the sum cancels, its own size says nothing about the arithmetic.
    """
    rows = [layout.slices.rows(widened(array)) for array in (x, slope, direction)]
    if layout.centred:
        rows[0] = rows[0] - rows[0].mean(-1, keepdims=True)
    std, slope, direction = (np.sqrt(np.mean(np.square(a), -1, keepdims=True)) for a in rows)
    return layout.slices.unrows(np.broadcast_to(slope * direction / std**2, rows[0].shape))


EVERY_LAYER_AND_SPREAD = pytest.mark.parametrize(
    ("name", "std"),
    [
        (name, std)
        for name in ("layer, rows", "rms, rows", "batch, table")
        for std in (1.0, 1e14, 1e-14)
    ],
)


@EACH_IMPLEMENTATION
@EVERY_LAYER_AND_SPREAD
def test_forward_over_reverse(problem, name, std, implementation):
    """The derivative of the gradient along a direction."""
    gradient, x, direction, exact, unit = problem
    product = jax.jit(lambda x, v: jax.jvp(gradient, (x,), (v,))[1])(x, direction)
    assert worst(product, exact, unit) <= BOUND


@EACH_IMPLEMENTATION
@EVERY_LAYER_AND_SPREAD
def test_reverse_over_reverse(problem, name, std, implementation):
    """The gradient of the gradient's product with a direction: the Hessian is symmetric.

    The direction is brought to size 1 by a power of two, or the sum that is differentiated would
    hold numbers that no float32 can.
    """
    gradient, x, direction, exact, unit = problem
    power = np.float32(2.0 ** -np.round(np.log2(std)))
    product = jax.jit(jax.grad(lambda x, v: jnp.vdot(gradient(x), v)))(x, direction * power)
    assert worst(widened(product) / Wide(power), exact, unit) <= BOUND
