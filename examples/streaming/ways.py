"""What is written for a running mean and variance, beside the exact numbers in float64.

Prints the tables of `docs/streaming.md` and draws its first figure.
`python examples/streaming/ways.py --help`
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from inox import streaming

Array = jax.Array
BATCH = 8
COLOURS = {"E[x²] - E[x]²": "#D55E00", "pooled in float32": "#0072B2", "inox.streaming": "#009E73"}


def by_squares(x: Array) -> tuple[Array, Array]:
    """Sums of the numbers and of their squares."""

    def step(sums: Array, x: Array) -> tuple[Array, None]:
        return sums + jnp.stack([x.sum(), (x**2).sum()]), None

    mean, square = jax.lax.scan(step, jnp.zeros(2), x)[0] / x.size
    return mean, jnp.maximum(square - mean**2, 0)


def by_pooling(x: Array) -> tuple[Array, Array]:
    """Chan's formula of count, mean and variance, each one float32."""

    def step(carry: tuple[Array, Array, Array], x: Array) -> tuple[tuple, None]:
        count, mean, var = carry
        total, delta = count + x.size, x.mean() - mean
        squares = var * count + x.var() * x.size + delta**2 * count * x.size / total
        return (total, mean + delta * x.size / total, squares / total), None

    return jax.lax.scan(step, (jnp.zeros(()),) * 3, x)[0][1:]


def by_stream(x: Array) -> tuple[Array, Array]:
    """The stream of this library; the mean is what the pair rounds to."""
    first = streaming.init(jnp.zeros(()))
    stream, _ = jax.lax.scan(lambda s, x: (streaming.update(s, x), None), first, x)
    return stream.mean, stream.var


Way = Callable[[Array], tuple[Array, Array]]
WAYS: dict[str, Way] = dict(zip(COLOURS, (by_squares, by_pooling, by_stream), strict=True))


def errors(updates: int, ratios: np.ndarray) -> dict[str, list[float]]:
    """The relative error of the deviation for means of so many deviations."""
    noise = np.random.default_rng(0).standard_normal((updates, BATCH))
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    compiled = {name: jax.jit(way) for name, way in WAYS.items()}
    for ratio in ratios:
        x = (ratio + noise).astype(np.float32)
        exact = x.astype(np.float64).std()
        for name, way in compiled.items():
            deviation = np.sqrt(np.float64(way(x)[1]))
            found[name].append(abs(deviation / exact - 1))
    return found


def over_devices() -> None:
    """Prints the deviation of data of which each of eight parts has a mean of its own."""
    noise = np.random.default_rng(1).standard_normal((8, 4096))
    empty = streaming.init(jnp.zeros(()))
    step = jax.vmap(lambda x: streaming.update(empty, x, axis_name="i"), axis_name="i")
    print("\nbetween devices   exact deviation   variances averaged   inox.streaming")
    for spread in (0.0, 1.0, 3.0):
        shift = np.linspace(-1, 1, 8) / np.linspace(-1, 1, 8).std()
        x = (noise + spread * shift[:, None]).astype(np.float32)
        averaged = np.sqrt(x.astype(np.float64).var(1).mean())
        pooled = float(jnp.sqrt(step(x).var[0]))
        exact = x.astype(np.float64).std()
        print(f"{spread:15.1f} {exact:17.4f} {averaged:20.4f} {pooled:16.4f}")


def of_weights() -> None:
    """Prints the mean of numbers whose weights are fractions, as importance weights are."""
    generator = np.random.default_rng(2)
    weights = generator.uniform(0, 3, 4096).astype(np.float32)
    x = (generator.standard_normal(4096) + weights).astype(np.float32)
    wide, w = x.astype(np.float64), weights.astype(np.float64)
    stream = streaming.update(streaming.init(jnp.zeros(())), x, weights=weights)
    print("\nweights               count     mean")
    print(f"{'exact':17} {w.sum():9.2f} {np.average(wide, weights=w):8.4f}")
    whole = np.trunc(w)
    print(f"{'cut to integers':17} {whole.sum():9.2f} {np.average(wide, weights=whole):8.4f}")
    print(f"{'inox.streaming':17} {float(stream.count):9.2f} {float(stream.mean):8.4f}")


def counts() -> None:
    """Prints what float32 counts of one observation a time, around 2**24."""
    count = jax.lax.fori_loop(0, 1000, lambda _, count: count + 1, jnp.float32(2**24))
    one = jnp.zeros(1)
    stream = streaming.init(jnp.zeros(()))._replace(count=jnp.float32(2**24))
    stream = jax.lax.fori_loop(0, 1000, lambda _, s: streaming.update(s, one), stream)
    both = int(stream.count) + int(stream.count_low)
    print(f"\n2**24 observations and 1000 more: {2**24 + 1000}; float32: {int(count)}; ", end="")
    print(f"inox.streaming: {both}")


def draw(ratios: np.ndarray, found: dict[str, list[float]], path: Path) -> None:
    """The errors against the mean."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, values in found.items():
        axis.loglog(ratios, values, ".-", color=COLOURS[name], label=name)
    axis.set(xlabel="mean, in deviations", ylabel="relative error of the deviation")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend()
    figure.savefig(path, dpi=150)
    print(f"Figure: {path}")


def main() -> None:
    """Prints the tables, and draws the first one if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--figure", type=Path, help="a file to draw the errors into")
    chosen = parser.parse_args()
    ratios = 10.0 ** np.arange(0, 7)
    found = errors(chosen.updates, ratios)
    print("relative error of the deviation, by the mean in deviations")
    print(f"{'':18}" + "".join(f"{ratio:>9.0e}" for ratio in ratios))
    for name, values in found.items():
        print(f"{name:18}" + "".join(f"{value:9.1e}" for value in values))
    over_devices()
    of_weights()
    counts()
    if chosen.figure:
        draw(ratios, found, chosen.figure)


if __name__ == "__main__":
    main()
