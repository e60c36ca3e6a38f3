"""How exact pooled moments are: errors in units of the last place, against float64.

The moments of k microbatches, pooled by `accumulate`, beside the same formula in plain float32 and
beside an average of the microbatches' means and variances. `python microbatches.py --help`
"""

import common
import jax
import jax.numpy as jnp
import numpy as np

import inox.nn as nn
from inox.calibration import accumulate
from inox.functional import Moments, merge_moments, moments
from inox.nn.normalization.pooled_moments import pooling_key

CHANNELS = 64
WAYS = ("accumulate", "merged", "averages")


@jax.jit
def pool(x: jax.Array) -> dict[str, Moments]:
    """The moments of microbatches (k, n, CHANNELS) in three ways."""
    layer, state = nn.export_state(nn.BatchNorm(CHANNELS))
    pooling, pooled = accumulate(layer, state)
    pooled, _ = jax.lax.scan(lambda pooled, x: pooling(x, pooled)[::-1], pooled, x)
    nothing = Moments(*(jnp.zeros(CHANNELS) for _ in range(3)))

    def merge(total: Moments, x: jax.Array) -> tuple[Moments, Moments]:
        part = Moments(*(jnp.broadcast_to(leaf, (CHANNELS,)) for leaf in moments(x, 0)))
        return merge_moments(total, part), part

    merged, parts = jax.lax.scan(merge, nothing, x)
    return {
        "accumulate": pooled[pooling_key(layer.stats)].moments,
        "merged": merged,
        "averages": Moments(merged.count, parts.mean.mean(0), parts.var.mean(0)),
    }


def errors(found: Moments, x: np.ndarray) -> tuple[float, float]:
    """Worst errors of mean and variance in units of the last place."""
    exact = x.astype(np.float64).reshape(-1, CHANNELS)
    mean, var = exact.mean(0), ((exact - exact.mean(0)) ** 2).mean(0)

    def ulp(values: np.ndarray) -> np.ndarray:
        return np.spacing(np.abs(values).astype(np.float32)).astype(np.float64)

    of_mean = np.abs(np.asarray(found.mean, np.float64) - mean)
    of_var = np.abs(np.asarray(found.var, np.float64) - var)
    unit = ulp(np.maximum(np.abs(mean), np.sqrt(var)))
    return float(np.max(of_mean / unit)), float(np.max(of_var / ulp(var)))


def main() -> None:
    """Measures, and prints the worst errors over the kinds of data."""
    chosen = common.options(__doc__, seed=0)
    generator = np.random.default_rng(chosen.seed)
    print("worst error of mean / variance over three kinds of data, in units of the last place")
    print(f"{'k':>6} {'n':>4} {'mean/std':>9} " + " ".join(f"{way:>18}" for way in WAYS))
    for k, n in ((4, 8), (1000, 8), (1000, 1), (10000, 4)):
        for offset in (0, 1e3, 1e6):
            alike = generator.standard_normal((k, n, CHANNELS))
            wandering = alike + np.linspace(-3, 3, k)[:, None, None]
            shrinking = alike * np.geomspace(1e3, 1e-3, k)[:, None, None]
            worst = np.zeros((3, 2))
            for kind in (alike, wandering, shrinking):
                x = (kind + offset).astype(np.float32)
                pooled = pool(x)
                found = [errors(pooled[way], x) for way in WAYS]
                worst = np.maximum(worst, found)
            cells = [f"{mean:.2g} / {var:.2g}" for mean, var in worst]
            print(f"{k:6} {n:4} {offset:9.0e} " + " ".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
