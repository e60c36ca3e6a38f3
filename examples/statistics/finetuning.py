"""Fine-tuning with frozen norms: a pretrained network on two new images at a time.

Pretrains the digits network, then fine-tunes it on a hundred digits that look different, in
batches of two images of one and the same digit, with the batch norms in training mode and frozen.
The new digits are moved by a pixel and noisy, or turned by 90 degrees.
`python finetuning.py --help`
"""

import common
import data
import matplotlib.pyplot as plt
import numpy as np
import optax
from evaluation import evaluate
from network import Network, make_network

import inox.nn as nn

FEW, SMALL = 100, 2


def moved(images: data.Images) -> data.Images:
    """The images moved by one pixel to the right, with noise."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(images.pixels.shape)
    pixels = np.roll(images.pixels, 1, axis=2) + noise.astype(np.float32)
    return data.Images(pixels, images.labels)


def turned(images: data.Images) -> data.Images:
    """The images turned by 90 degrees."""
    return data.Images(np.rot90(images.pixels, axes=(1, 2)).copy(), images.labels)


def batches(images: data.Images, generator: np.random.Generator) -> list[data.Images]:
    """One epoch of small batches, each of one digit, in random order."""
    order = np.argsort(images.labels + 0.5 * generator.random(len(images.labels)))
    parts = [order[start : start + SMALL] for start in range(0, len(order) - 1, SMALL)]
    return [
        data.Images(*(array[part] for array in images)) for part in generator.permutation(parts)
    ]


def tune(
    model: Network, state: dict, few: data.Images, test: data.Images, epochs: int
) -> list[float]:
    """Fine-tunes on small batches, and returns the test accuracy before and after each epoch."""
    optimizer = optax.adam(3e-4)
    memory, step = optimizer.init(model), common.make_step(optimizer)
    generator = np.random.default_rng(0)
    accuracies = [evaluate(model, state, test).accuracy]
    for _ in range(epochs):
        for batch in batches(few, generator):
            model, state, memory, _ = step(model, state, memory, batch)
        accuracies.append(evaluate(model, state, test).accuracy)
    return accuracies


def main() -> None:
    """Pretrains, fine-tunes in both ways, prints a table and draws the curves."""
    chosen = common.options(__doc__, epochs=10, pretraining=6, seeds=3)
    train, test = data.load()
    changes = {"moved and noisy": moved, "turned": turned}
    curves: dict[tuple[str, str], list] = {}
    for seed in range(chosen.seeds):
        model, state = make_network(seed, "batch")
        optimizer = optax.adam(5e-3)
        memory, step = optimizer.init(model), common.make_step(optimizer)
        generator = np.random.default_rng(seed)
        for _ in range(chosen.pretraining):
            for batch in data.batches(train, 64, generator):
                model, state, memory, _ = step(model, state, memory, batch)
        some = generator.permutation(len(train.labels))[:FEW]
        for change, new in changes.items():
            few = new(data.Images(train.pixels[some], train.labels[some]))
            for mode, tuned in (("in training mode", model), ("frozen", nn.freeze(model))):
                found = tune(tuned, state, few, new(test), chosen.epochs)
                curves.setdefault((change, mode), []).append(found)
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    print(f"{'digits':18} {'batch norms':18} {'before':>8} {'after':>8} {'worst':>8} {'best':>8}")
    for (change, mode), found in curves.items():
        percent = 100 * np.array(found)
        end = percent[:, -1]
        print(
            f"{change:18} {mode:18} {percent[:, 0].mean():7.1f}% {end.mean():7.1f}% "
            f"{end.min():7.1f}% {end.max():7.1f}%"
        )
        axis = axes[list(changes).index(change)]
        colour = common.BLUE if mode == "frozen" else common.ORANGE
        axis.plot(percent.mean(0), color=colour, label=mode)
        epochs = range(percent.shape[1])
        axis.fill_between(epochs, percent.min(0), percent.max(0), color=colour, alpha=0.2, lw=0)
        axis.set(title=f"Digits {change}", xlabel="epoch of fine-tuning")
    axes[0].set_ylabel("test accuracy, per cent")
    axes[0].legend(title="batch norms", frameon=False, loc="lower right")
    common.save(figure, chosen.out / "finetuning.png")


if __name__ == "__main__":
    main()
