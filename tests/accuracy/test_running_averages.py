"""Running averages over ten thousand updates, for input of every dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inox.nn
from tests.accuracy.cases import DTYPES
from tests.accuracy.metric import ulp
from tests.accuracy.oracle import Slices, Wide, normalized, widened

UPDATES, BATCHES, SHAPE = 10_000, 16, (8, 3)


@pytest.mark.parametrize("momentum", [0.9, 0.999])
@pytest.mark.parametrize("dtype", DTYPES)
def test_they_neither_stagnate_nor_drift(dtype, momentum, rng):
    """Against the update rule in extended precision, on the exact statistics of each batch.

    An update s <- a s + (1 - a) b rounds by 1.5 units at most, a is rounded once, and what is
    left of an error after k updates is a^k of it, so it stays below 3 / (1 - a) units. Averages
    that are kept in a half type stop moving as soon as (1 - a) times the distance is below a
    unit, which is at once 100% of the distance.
    """
    kind = jnp.dtype(dtype)
    drift = np.linspace(1, 40, BATCHES)[:, None, None]
    x = (3 + drift * rng.standard_normal((BATCHES, *SHAPE))).astype(kind)
    with jax.enable_x64(dtype == "float64"):
        layer, state = inox.nn.export_state(inox.nn.BatchNorm(3, momentum=momentum))

        @jax.jit
        def run(state, x):
            def update(state, i):
                _, state = layer(x[i], state)
                return state, None

            state, _ = jax.lax.scan(update, state, jnp.arange(UPDATES) % BATCHES)
            return state[layer.stats]

        statistics = run(state, x)
        rounded = jnp.asarray(momentum, "float64" if dtype == "float64" else "float32")

    ones, zeros = np.ones(3), np.zeros(3)
    batches = [normalized(Slices(SHAPE, (0,)), b, b, ones, zeros, 1e-5) for b in x]
    weight = widened(rounded)
    for name, exact in (("mean", np.zeros(3, Wide)), ("var", np.ones(3, Wide))):
        for i in range(UPDATES):
            exact = weight * exact + (1 - weight) * getattr(batches[i % BATCHES], name)
        actual = np.asarray(getattr(statistics, name))
        assert actual.dtype == (np.float64 if dtype == "float64" else np.float32)
        # The mean is a difference: its errors are those of numbers as large as the spread.
        size = np.sqrt(np.mean([b.var for b in batches], 0)) if name == "mean" else exact
        error = np.abs(widened(actual) - exact) / ulp(np.maximum(np.abs(exact), size), actual.dtype)
        assert np.max(error) <= 3 / (1 - momentum)
