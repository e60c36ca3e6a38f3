"""Second derivatives at extreme spreads: no power of rstd above the second may be formed.

With a spread of 1e14, rstd cubed is 1e-42 and below the range of float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.accuracy.layouts import LAYOUTS
from tests.accuracy.metric import ulp, worst
from tests.accuracy.oracle import Wide, widened

# Four projections follow each other: four times the bound of dx.
BOUND = 32.0


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
def problem(name, std, rng):
    """A gradient to differentiate again, x, a direction of the size of x and the exact product."""
    layout = LAYOUTS[name]
    shape = layout.slices.shape
    x, direction = (std * rng.standard_normal((2, *shape))).astype(np.float32)
    dy = rng.standard_normal(shape).astype(np.float32)
    scale, bias = rng.uniform(0.5, 2, (2, *layout.parameter_shape)).astype(np.float32)

    def gradient(x):
        return jax.grad(lambda x: jnp.vdot(layout.call(x, scale, bias, jnp.float32(0)), dy))(x)

    exact = exact_product(layout, x, dy, scale, bias, direction)
    rows = layout.slices.rows(exact)
    size = layout.slices.unrows(np.sqrt(np.mean(np.square(rows), -1, keepdims=True)))
    return gradient, x, direction, exact, ulp(np.maximum(np.abs(exact), size), np.float32)


EVERY_LAYER_AND_SPREAD = pytest.mark.parametrize(
    ("name", "std"),
    [
        (name, std)
        for name in ("layer, rows", "rms, rows", "batch, table")
        for std in (1.0, 1e14, 1e-14)
    ],
)


@EVERY_LAYER_AND_SPREAD
def test_forward_over_reverse(problem, name, std):
    """The derivative of the gradient along a direction."""
    gradient, x, direction, exact, unit = problem
    product = jax.jit(lambda x, v: jax.jvp(gradient, (x,), (v,))[1])(x, direction)
    assert worst(product, exact, unit) <= BOUND


@EVERY_LAYER_AND_SPREAD
def test_reverse_over_reverse(problem, name, std):
    """The gradient of the gradient's product with a direction: the Hessian is symmetric.

    The direction is brought to size 1 by a power of two, or the sum that is differentiated would
    hold numbers that no float32 can.
    """
    gradient, x, direction, exact, unit = problem
    power = np.float32(2.0 ** -np.round(np.log2(std)))
    product = jax.jit(jax.grad(lambda x, v: jnp.vdot(gradient(x), v)))(x, direction * power)
    assert worst(widened(product) / Wide(power), exact, unit) <= BOUND
