"""Stochastic weight averaging: the averaged network needs statistics of its own.

Trains the digits network, averages its weights after each of the last epochs, and compares the
average with the last running statistics, with recalibrated ones, and with those of a few other
ways, from several seeds. `python averaging.py --help`
"""

import argparse

import common
import data
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from evaluation import Score, evaluate
from network import Network, make_network

from inox.calibration import drift, recalibrate

EACH = "each of the last epochs"


def apply(model: Network, state: dict, images: data.Images) -> dict:
    """Runs the network for the sake of its state."""
    return model(images.pixels, state)[1]


def by_momentum(model: Network, state: dict, batches: list[data.Images]) -> dict:
    """The way without recalibration: the batches move the running statistics."""
    model = jax.tree.map(lambda leaf: leaf, model)
    model.train(True)
    step = jax.jit(apply)
    for batch in batches:
        state = step(model, state, batch)
    return state


def train(chosen: argparse.Namespace, seed: int) -> tuple[Network, dict, list[Score]]:
    """The averaged network, the last state, and the scores of what was averaged."""
    train_images, test_images = data.load()
    model, state = make_network(seed, "batch")
    # A constant rate, high for this network, as weight averaging wants it.
    optimizer = optax.adam(2e-2)
    memory, step = optimizer.init(model), common.make_step(optimizer)
    generator = np.random.default_rng(seed)
    total, scores = None, []
    for epoch in range(chosen.epochs):
        for batch in data.batches(train_images, 64, generator):
            model, state, memory, _ = step(model, state, memory, batch)
        if epoch >= chosen.epochs - chosen.averaged:
            scores.append(evaluate(model, state, test_images))
            total = model if total is None else jax.tree.map(jnp.add, total, model)
    return jax.tree.map(lambda leaf: leaf / chosen.averaged, total), state, scores


def ways(average: Network, state: dict) -> dict[str, dict]:
    """The states to be compared, by name."""
    images, _ = data.load()
    shuffled = list(data.batches(images, 64, np.random.default_rng(1)))
    # Sorted by label, in batches of 30: none resembles the data set.
    order = np.argsort(images.labels, kind="stable")
    sorted_ = [data.Images(*(a[part] for a in images)) for part in np.array_split(order, 48)]
    return {
        "last running statistics": state,
        "22 batches by momentum": by_momentum(average, state, shuffled),
        "recalibrated, one pass": recalibrate(apply, average, state, shuffled),
        "recalibrated, sequential": recalibrate(apply, average, state, shuffled, sequential=True),
        "sorted batches by momentum": by_momentum(average, state, sorted_),
        "sorted batches, one pass": recalibrate(apply, average, state, sorted_),
        "sorted batches, sequential": recalibrate(apply, average, state, sorted_, sequential=True),
    }


def main() -> None:
    """Trains, averages, recalibrates, prints a table and draws it."""
    chosen = common.options(__doc__, epochs=12, averaged=6, seeds=5)
    images, test_images = data.load()
    scores: dict[str, list[Score]] = {EACH: []}
    for seed in range(chosen.seeds):
        average, state, epochs = train(chosen, seed)
        scores[EACH] += epochs
        for name, of_average in ways(average, state).items():
            scores.setdefault(name, []).append(evaluate(average, of_average, test_images))
        if not seed:
            batches = list(data.batches(images, 64, np.random.default_rng(1)))
            found = drift(apply, average, state, batches, progress=False)
            found.plot(chosen.out / "drift.png")
            print(f"Drift of the last running statistics, first seed:\n{found}", flush=True)

    print(f"\nMeans over {chosen.seeds} seeds, {len(test_images.labels)} test images:")
    print(f"{'weights and statistics':40} {'accuracy':>8} {'worst':>8} {'loss':>8}")
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    for index, (name, found) in enumerate(scores.items()):
        accuracies = [score.accuracy for score in found]
        losses = [score.loss for score in found]
        label = name if name == EACH else f"average, {name}"
        print(
            f"{label:40} {np.mean(accuracies):8.2%} {min(accuracies):8.2%} {np.mean(losses):8.4f}"
        )
        colour = common.GREEN if "pass" in name or "sequential" in name else common.ORANGE
        colour = common.GREY if name == EACH else colour
        axis.plot(losses, [index] * len(losses), ".", color=colour, alpha=0.6)
        axis.plot(np.mean(losses), index, "|", color=colour, markersize=18, markeredgewidth=3)
    axis.set_yticks(range(len(scores)), scores)
    axis.invert_yaxis()
    axis.set(xlabel="test loss: a dot for each network, a bar for their mean", xscale="log")
    common.plain_ticks(axis.xaxis)
    common.save(figure, chosen.out / "averaging.png")


if __name__ == "__main__":
    main()
