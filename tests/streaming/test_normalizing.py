"""What observations become, and back."""

import jax.numpy as jnp
import numpy as np

from inox.streaming import denormalize, init, normalize, update


def test_standardized_and_back(rng):
    """(x - mean) / sqrt(var + epsilon) to 1e-6, clipped; and back, at a mean of 1e6 deviations."""
    x = rng.normal(1e6, 1, (50, 3)).astype(np.float32)
    stream = update(init(jnp.zeros(3)), x)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 0.5)
    y = normalize(stream, x, epsilon=0.5)
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(normalize(stream, x, epsilon=0.5, clip=0.3), y.clip(-0.3, 0.3))
    np.testing.assert_allclose(denormalize(stream, y, epsilon=0.5), x, rtol=2**-23)
    np.testing.assert_allclose(
        denormalize(stream, jnp.ones(3)), wide.mean(0) + wide.std(0), rtol=2**-23
    )


def test_first_use(rng):
    """Before anything was seen observations are left as they are; what never varied is centred."""
    x = rng.normal(size=(4, 3)).astype(np.float32)
    stream = init(jnp.zeros(3))
    np.testing.assert_array_equal(normalize(stream, x, epsilon=0.0), x)
    np.testing.assert_array_equal(denormalize(stream, x), x)
    np.testing.assert_allclose(normalize(stream, x, epsilon=3.0), x / 2, rtol=1e-6)
    one = update(stream, x[0])
    np.testing.assert_array_equal(normalize(one, x, epsilon=0.0), x - x[0])
    np.testing.assert_array_equal(normalize(one, x[0], epsilon=1e-8, clip=5), np.zeros(3))
