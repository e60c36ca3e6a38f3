"""`accumulate` and `commit`: k microbatches move the statistics as one large batch does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.calibration import accumulate, commit
from inox.nn import BatchNorm, Module, StateEntry, export_state, freeze, update_state
from inox.nn.normalization.pooled_moments import pooling_key
from tests.calibration.networks import (
    assert_exact_moments,
    make_network,
    moments64,
    rows,
    same_bits,
)

CHANNELS = 3


@jax.jit
def scanned(layer, state, batches, where=None):
    """The pooled state after all batches, by a scan."""
    pooling, pooled = accumulate(layer, state)

    def body(pooled, batch):
        x, mask = batch
        return pooling(x, pooled, where=mask)[1], None

    return jax.lax.scan(body, pooled, (batches, where))[0]


def pooled_moments(layer, pooled):
    return pooled[pooling_key(layer.stats)].moments


def data(kind, k, n, offset):
    """Batches whose moments are alike, wander off, or differ a million times in their spread."""
    random = np.random.default_rng(k)
    x = random.standard_normal((k, n, CHANNELS))
    if kind == "drifting":
        x += np.linspace(-3, 3, k)[:, None, None]
    if kind == "shrinking":
        x *= np.geomspace(1e3, 1e-3, k)[:, None, None]
    return (x + offset).astype(np.float32)


@pytest.mark.parametrize(("k", "n"), [(4, 8), (1000, 8), (1000, 1)])
def test_pooled_moments_are_exact(k, n):
    """The mean is within 1 ulp of the larger of mean and deviation, the variance within 4.

    However many batches there are, where the mean is a million deviations away and where the
    batches differ: of one row, of wandering means, of ever smaller spreads.
    """
    layer, state = export_state(BatchNorm(CHANNELS))
    for kind in ("alike", "drifting", "shrinking"):
        for offset in (0, 1, 1e3, 1e6, -1e6):
            x = data(kind, k, n, offset)
            count, mean, var = pooled_moments(layer, scanned(layer, state, x))
            np.testing.assert_array_equal(count, np.full(CHANNELS, k * n))
            assert_exact_moments(mean, var, x)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_pools_in_float32(dtype):
    """Statistics of half-precision batches have the accuracy of float32."""
    layer, state = export_state(BatchNorm(CHANNELS))
    x = jnp.asarray(data("drifting", 50, 4, 100), dtype)
    _, mean, var = pooled_moments(layer, scanned(layer, state, x))
    assert mean.dtype == var.dtype == jnp.float32
    assert_exact_moments(mean, var, x.astype(jnp.float32))


def test_counts_beyond_the_integers_of_float32():
    """A count goes on after 2**24, where adding 1 to a float32 changes nothing."""
    layer, state = export_state(BatchNorm(1))
    _, pooled = accumulate(layer, state)
    key = pooling_key(layer.stats)
    pool = pooled[key]._replace(count=jnp.full(1, 2.0**24))
    add = jax.jit(lambda pool: layer(jnp.ones((1, 1)), {**pooled, key: pool})[1][key])
    for _ in range(3):
        pool = add(pool)
    assert float(pool.count[0]) + float(pool.count_low[0]) == 2**24 + 3


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_commit_gives_the_state_of_the_large_batch(momentum):
    """The committed state is that of one call with all rows, within the bounds on its moments."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=momentum))
    state = layer(rows(1, 16), state)[1]
    x = data("drifting", 8, 16, 5)
    found = commit(layer, state, scanned(layer, state, x))
    _, large = layer(x.reshape(-1, CHANNELS), state)
    assert list(found) == list(state)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(large), strict=True):
        np.testing.assert_allclose(one, other, rtol=4 * 2.0**-23)


def test_commit_is_exact_where_arithmetic_is():
    """On small integers and dyadic counts the state has the very bits of the large batch."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=0.5))
    x = np.random.default_rng(2).integers(-8, 8, (1, 8, CHANNELS)).astype(np.float32)
    x = np.concatenate([x, x + 4])  # the mean of the two means is an integer and a half at most
    _, large = layer(x.reshape(-1, CHANNELS), state)
    same_bits(commit(layer, state, scanned(layer, state, x)), large)


def test_batches_of_different_sizes_and_none():
    """Batches count by their rows; an empty one and a fully masked one change no bit."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=0.0))
    x = rows(3, 16)
    pooling, pooled = accumulate(layer, state)
    for part in (x[:1], x[1:4], x[4:]):
        _, pooled = pooling(part, pooled)
    before = pooled
    _, pooled = pooling(x[:0], pooled)
    _, pooled = pooling(x, pooled, where=np.zeros((16, 1), bool))
    same_bits(pooled, before)
    mean, var = commit(layer, state, pooled)[layer.stats]
    assert_exact_moments(mean, var, x)


def test_masks_leave_padding_out():
    """Masked rows take part in no moment, NaN included, and counts differ by channel."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=0.0))
    x = rows(4, 40).reshape(5, 8, CHANNELS)
    where = np.random.default_rng(0).random(x.shape) < 0.6
    pooled = scanned(layer, state, np.where(where, x, np.nan), where)
    count, mean, var = pooled_moments(layer, pooled)
    np.testing.assert_array_equal(count, where.sum((0, 1)))
    for channel in range(CHANNELS):
        kept = x[..., channel][where[..., channel]][:, None]
        assert_exact_moments(mean[channel : channel + 1], var[channel : channel + 1], kept)


def test_running_statistics_do_not_move_and_nothing_is_changed_in_place():
    """While pooling, the running statistics keep their bits; so do the states handed in."""
    model, state = make_network(warmup=True)
    copies = jax.tree.map(np.array, state)
    pooling, pooled = accumulate(model, state)
    empty = jax.tree.map(np.array, pooled)
    _, after = jax.jit(pooling)(rows(0, 8), pooled)
    for key in state:
        same_bits(after[key], state[key])
    committed = commit(model, state, after)
    same_bits(state, jax.tree.map(jnp.asarray, copies))
    same_bits(pooled, jax.tree.map(jnp.asarray, empty))
    assert set(committed) == set(state)


def test_each_microbatch_is_normalized_by_its_own_statistics():
    """What it can't do: outputs are those of the microbatch alone, not of the large batch."""
    model, state = make_network()
    pooling, pooled = accumulate(model, state)
    x = rows(6, 16)
    alone, _ = model(x[:4], state)
    together, _ = model(x, state)
    first, pooled = pooling(x[:4], pooled)
    same_bits(first, alone)
    assert np.abs(np.asarray(first) - np.asarray(together)[:4]).max() > 0.1


def test_checkpoint_and_gradients_pool_once():
    """Rematerialization runs the layer again in the backward pass, and pools it once."""
    model, state = make_network()
    pooling, pooled = accumulate(model, state)

    def loss(model, pooled, x, wrap):
        y, pooled = wrap(model)(x, pooled)
        return jnp.sum(y**2), pooled

    x = rows(7, 16)
    plain = jax.jit(jax.grad(lambda *a: loss(*a, lambda m: m), has_aux=True))
    again = jax.jit(jax.grad(lambda *a: loss(*a, jax.checkpoint), has_aux=True))
    gradient, once = plain(pooling, pooled, x)
    _, remade = again(pooling, pooled, x)
    for one, other in zip(jax.tree.leaves(once), jax.tree.leaves(remade), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    assert float(once[pooling_key(model.before.stats)].count[0]) == 16
    # The gradient fits the model that was handed to accumulate.
    assert jax.tree.structure(gradient) == jax.tree.structure(model)


def test_no_gradient_flows_into_the_pool():
    """The pooled moments are constants to a derivative, as the running statistics are."""
    layer, state = export_state(BatchNorm(CHANNELS))
    pooling, pooled = accumulate(layer, state)

    def total(x):
        after = pooling(x, pooled)[1][pooling_key(layer.stats)]
        return sum(jnp.sum(leaf) for leaf in after)

    np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(rows(0, 8))), 0)


def test_evaluation_and_frozen_layers_are_passed_through():
    """Only batch norms in training mode pool; of the others nothing changes at commit."""
    model, state = make_network()
    model.before = freeze(model.before)
    pooling, pooled = accumulate(model, state)
    assert set(pooled) - set(state) == {pooling_key(model.after.stats)}
    _, pooled = pooling(rows(0, 8), pooled)
    committed = commit(model, state, pooled)
    same_bits(committed[model.before.stats], state[model.before.stats])
    assert np.abs(np.asarray(committed[model.after.stats].mean)).max() > 0
    pooling.train(False)
    _, after = pooling(rows(0, 8), accumulate(pooling, state)[1])
    same_bits(after, accumulate(pooling, state)[1])
    same_bits(commit(pooling, state, after), state)
    same_bits(commit(pooling, state, state), state)
    assert model.after.training, "the copy's mode is not the model's"


def test_evaluation_between_microbatches():
    """In evaluation mode the copy normalizes by the running statistics, and pools nothing."""
    model, state = make_network()
    pooling, pooled = accumulate(model, state)
    _, pooled = pooling(rows(0, 8), pooled)
    pooling.train(False)
    y, after = pooling(rows(1, 8), pooled)
    model.train(False)
    same_bits(y, model(rows(1, 8), state)[0])
    same_bits(after, pooled)
    same_bits(commit(pooling, state, pooled), commit(model, state, pooled))


def test_warmup_counts_one_batch_a_commit():
    """Commit t weighs the pooled moments by 1 / (t + 1), whatever the number of microbatches."""
    layer, state = export_state(BatchNorm(CHANNELS, warmup=True))
    means = []
    for t in range(3):
        x = rows(t, 12) + np.float32(t)
        state = commit(layer, state, scanned(layer, state, x.reshape(3, 4, CHANNELS)))
        means.append(moments64(x)[0])
        np.testing.assert_allclose(state[layer.stats].mean, np.mean(means, 0), rtol=1e-6)
        np.testing.assert_array_equal(state[layer.batches], np.full(CHANNELS, t + 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_microbatch(bad):
    """As in the large batch: the channel turns NaN, or is left out with skip_nonfinite."""
    x = rows(8, 12).reshape(3, 4, CHANNELS)
    x[1, 2, 0] = bad
    for skip in (True, False):
        layer, state = export_state(BatchNorm(CHANNELS, skip_nonfinite=skip, warmup=True))
        state = layer(rows(9, 8), state)[1]
        found = commit(layer, state, scanned(layer, state, x))
        _, large = layer(x.reshape(-1, CHANNELS), state)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(large), strict=True):
            np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other))
            np.testing.assert_allclose(one[1:], other[1:], rtol=1e-6)
        if skip:
            same_bits(found[layer.stats].mean[0], state[layer.stats].mean[0])
            assert float(found[layer.batches][0]) == 1


def test_entries_of_other_layers_come_from_the_pooled_state():
    """A layer with a state of its own keeps what the microbatches made of it."""

    class Counting(Module):
        def __init__(self):
            self.norm = BatchNorm(CHANNELS)
            self.calls = StateEntry(jnp.zeros(()))

        def __call__(self, x, state):
            y, state = self.norm(x, state)
            return y, update_state(state, {self.calls: state[self.calls] + 1})

    model, state = export_state(Counting())
    pooling, pooled = accumulate(model, state)
    for seed in range(3):
        _, pooled = pooling(rows(seed, 4), pooled)
    committed = commit(model, state, pooled)
    assert float(committed[model.calls]) == 3
    assert set(committed) == set(state)
