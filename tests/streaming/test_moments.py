"""Count, mean and variance of a stream against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from inox.streaming import init, merge, update
from tests.streaming.reference import assert_agree, exact, moments, moments_of


def test_a_million_updates(rng):
    """A million updates at a mean of a million deviations, in one compiled scan: all exact.

    A float32 holds the mean to 6% of a deviation and counts to 2**24; the count is beyond that.
    The bound of the documentation is 1e-6 of the deviation and what the roundings of pairs add up
    to at random, below that; of the variance it is 4e-6.
    """
    x = (1e6 + rng.standard_normal((1_000_001, 17))).astype(np.float32)

    @jax.jit
    def run(x):
        return jax.lax.scan(lambda s, x: (update(s, x), None), init(jnp.zeros(())), x)[0]

    count, mean, var = moments_of(run(x))
    expected = moments(x.ravel())
    assert count == 17_000_017
    assert abs(mean - expected[1]) < 1e-6 * np.sqrt(expected[2])
    assert abs(var / expected[2] - 1) < 4e-6


def test_trees_of_batches_of_any_shape(rng):
    """Leaves keep their shapes; every axis before them is batch, and none is one observation."""
    parts = [rng.normal(3, 2, size).astype(np.float32) for size in [(4, 5, 3), (3,), (0, 3)]]
    stream = init({"a": jnp.zeros(3), "b": [jnp.zeros(())]})
    for x in parts:
        stream = update(stream, {"a": x, "b": [x[..., 0]]})
    rows = np.concatenate([x.reshape(-1, 3) for x in parts])
    assert_agree(type(stream)(*(field["a"] for field in stream)), moments(rows))
    assert_agree(type(stream)(*(field["b"][0] for field in stream)), moments(rows[:, 0]))


def test_weights_and_masks(rng):
    """Weights are fractions, masks are of observations or elements; what is left out may be NaN."""
    x = rng.normal(1e4, 1, (2, 8, 3)).astype(np.float32)
    weights = rng.uniform(0, 2, (2, 8)).astype(np.float32)
    weights[0, 2] = 0
    elements = rng.uniform(size=x.shape) < 0.7
    elements[..., 2] = [[False] * 8, [True] * 8]  # a batch may have nothing of a channel
    bad = np.where(elements & (weights > 0)[..., None], x, np.nan)
    stream = init(jnp.zeros(3))
    for i in range(2):
        stream = update(stream, bad[i], weights=weights[i], where=elements[i])
    rows, of = x.reshape(-1, 3), (weights[..., None] * elements).reshape(-1, 3)
    assert_agree(stream, moments(rows, of))
    whole = rng.uniform(size=8) < 0.5
    masked = np.where(whole[:, None], x[0], np.nan)
    assert_agree(update(init(jnp.zeros(3)), masked, where=whole), moments(x[0][whole]))
    nothing = update(stream, np.full_like(x[0], np.nan), where=np.zeros(8, bool))
    assert jax.tree.all(jax.tree.map(np.array_equal, nothing, stream))
    seen = update(stream, np.full_like(x[0], np.nan), where=whole)
    assert np.isnan(seen.mean).all(), "what isn't masked is seen"


def test_equal_numbers_with_weights(rng):
    """A weighted mean of equal numbers is that number, and their variance exactly 0."""
    x = np.full((4097, 16), 1000000.5, np.float32) + np.arange(16, dtype=np.float32)
    stream = update(init(jnp.zeros(16)), x, weights=rng.uniform(0, 2, 4097).astype(np.float32))
    _, mean, var = moments_of(stream)
    np.testing.assert_array_equal(mean, x[0])
    np.testing.assert_array_equal(var, 0)


def test_window(rng):
    """With max_count the past decays: the weights of a float64 recursion, and no drift of them."""
    x = rng.normal(1e5, 1, (300, 4)).astype(np.float32)
    x[:100] += 1e6  # what is forgotten leaves nothing
    stream = init(jnp.zeros(()))
    compiled = jax.jit(update)
    weight = np.zeros(0)
    for row in x:
        stream = compiled(stream, row, max_count=10.0)
        total = weight.sum()
        kept = min(total, 10 - 4)
        weight = np.concatenate([weight * (kept / total if total else 0), np.ones(4)])
    assert_agree(stream, moments(x.ravel(), weight))
    assert exact(stream.count, stream.count_low) == 10
    large = update(stream, x[1], max_count=2)
    _, mean, var = moments(x[1])
    assert_agree(large, (np.float64(2.0), mean, var))


def test_merging_is_associative(rng):
    """Streams merged in any grouping are the stream that saw everything; empty ones change none."""
    x = [rng.normal(1e6 + 3 * i, 1 + i, (5 + 7 * (i // 2), 2)).astype(np.float32) for i in range(3)]
    a, b, c = (update(init(jnp.zeros(2)), part) for part in x)
    expected = moments(np.concatenate(x))
    for together in (merge(merge(a, b), c), merge(a, merge(b, c)), merge(c, a, b)):
        assert_agree(together, expected)
    empty = init(jnp.zeros(2))
    for together in (merge(a, empty), merge(empty, a), merge(a)):
        assert jax.tree.all(jax.tree.map(np.array_equal, together, a))
