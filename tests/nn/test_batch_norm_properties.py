"""Properties of the running update that hold for any batch, state and momentum."""

import hypothesis
import hypothesis.extra.numpy
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies
from layer_cases import assert_same_bits, run, standardize64

from inox.nn import BatchNorm, Statistics, export_state

ROWS, CHANNELS = 6, 2


def numbers(shape, low, high):
    """Float32 arrays of ordinary magnitude, repeated values and zeros among them."""
    elements = strategies.floats(low, high, width=32, allow_subnormal=False)
    return hypothesis.extra.numpy.arrays(np.float32, shape, elements=elements)


batches = numbers((ROWS, CHANNELS), -1024, 1024)
means = numbers((CHANNELS,), -1024, 1024)
variances = numbers((CHANNELS,), 0, 1024)
momenta = strategies.floats(0, 1, width=32, allow_subnormal=False)


def update(x, mean, var, momentum):
    """Output and new statistics; the momentum is a leaf, so all examples share one compilation."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=jnp.float32(momentum)))
    state = {layer.stats: Statistics(jnp.asarray(mean), jnp.asarray(var))}
    y, state = run(layer, state, x)
    return y, state[layer.stats]


@hypothesis.given(batches, means, variances)
def test_momentum_one_keeps_any_state(x, mean, var):
    """With momentum 1 the statistics are exactly the old ones, whatever the batch."""
    _, after = update(x, mean, var, 1.0)
    np.testing.assert_array_equal(after.mean, mean)
    np.testing.assert_array_equal(after.var, var)


@hypothesis.given(batches, means, variances, means, variances)
def test_momentum_zero_forgets_any_state(x, mean, var, other_mean, other_var):
    """With momentum 0 the statistics are the batch's, to the bit the same from any state."""
    _, one = update(x, mean, var, 0.0)
    _, other = update(x, other_mean, other_var, 0.0)
    assert_same_bits(one, other)
    exact = x.astype(np.float64)
    # The mean is right to an ulp of the largest number. So is the variance to its own, because
    # the mean's rounding is taken out of the differences. Compilers take a number below the
    # smallest normal one for 0, and the square of an ordinary difference can be as small.
    smallest = np.finfo(np.float32).smallest_normal
    np.testing.assert_allclose(one.mean, exact.mean(0), rtol=0, atol=2e-7 * np.abs(exact).max())
    np.testing.assert_allclose(
        one.var, exact.var(0), rtol=1e-5, atol=1e-13 * np.square(exact).max() + smallest
    )


@hypothesis.given(batches, means, variances, momenta)
def test_any_momentum_stays_between_old_and_new(x, mean, var, momentum):
    """The new statistics are the mean of old and batch ones that the momentum weights."""
    _, after = update(x, mean, var, momentum)
    exact = x.astype(np.float64)
    for old, new, found in zip((mean, var), (exact.mean(0), exact.var(0)), after, strict=True):
        expected = momentum * old.astype(np.float64) + (1 - momentum) * new
        size = np.maximum(np.abs(old), np.abs(new)).max() + np.abs(exact).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * size)
        assert np.all(np.isfinite(np.asarray(found)))
    assert np.all(np.asarray(after.var) >= 0)


@hypothesis.given(batches, momenta)
def test_output_of_training_does_not_depend_on_state_or_momentum(x, momentum):
    """In training the output is the batch's standardization alone; a constant channel gives 0."""
    one, _ = update(x, np.zeros(CHANNELS, np.float32), np.ones(CHANNELS, np.float32), momentum)
    other, _ = update(x, np.full(CHANNELS, 9.0, np.float32), np.zeros(CHANNELS, np.float32), 0.5)
    assert_same_bits(one, other)
    constant = np.all(x == x[:1], axis=0)
    np.testing.assert_array_equal(np.asarray(one)[:, constant], 0)
    np.testing.assert_allclose(one, standardize64(x, 0, 1e-5), rtol=1e-5, atol=1e-5)
