"""Shipping a folded network: the batch norms become part of the convolutions.

Trains the digits network for a few epochs, folds each batch norm into the convolution before it,
checks the agreement, and measures how long both networks take. `python shipping.py --help`
"""

import time
from collections.abc import Callable
from pathlib import Path

import common
import data
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from network import Network, make_network

from inox.folding import fold
from inox.nn import Parameter, train

TOLERANCE = 1e-5


def convolve(kernel: jax.Array, bias: jax.Array | None, x: jax.Array, stride: int) -> jax.Array:
    """The convolution of the network."""
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=numbers)
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def folded(model: Network, state: dict, x: jax.Array) -> Network:
    """A network of the same classes whose blocks have no norm, checked on images block by block."""
    # Built with norm "none", the convolutions have a bias to fold into.
    plain, _ = make_network(0, "none")
    for block, source in zip(plain.blocks, model.blocks, strict=True):

        def apply(kernel, bias, x, stride=source.convolution.stride):
            return convolve(kernel, bias, x, stride)

        kernel, bias = fold(
            source.norm, state, source.convolution.kernel(), check=(apply, x), tolerance=TOLERANCE
        )
        block.convolution.kernel = Parameter(kernel)
        block.convolution.bias = Parameter(bias.reshape(1, 1, 1, -1))
        x, _ = source(x, state)
    plain.head = model.head
    return plain


def times(functions: dict[str, Callable], x: jax.Array, repetitions: int) -> dict[str, float]:
    """The shortest time of a call in milliseconds, the contestants taking turns."""
    best = dict.fromkeys(functions, np.inf)
    for _ in range(repetitions):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(x))
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def main() -> None:
    """Trains, folds, compares, measures, and draws the times."""
    chosen = common.options(__doc__, epochs=6, repetitions=300, seed=0)
    images, test = data.load()
    model, state = make_network(chosen.seed, "batch")
    optimizer = optax.adam(5e-3)
    memory, step = optimizer.init(model), common.make_step(optimizer)
    generator = np.random.default_rng(chosen.seed)
    for _ in range(chosen.epochs):
        for batch in data.batches(images, 64, generator):
            model, state, memory, _ = step(model, state, memory, batch)
    train(model, False)
    plain = folded(model, state, jnp.asarray(test.pixels))

    networks = {
        "batch norm": jax.jit(lambda x: model(x, state)[0]),
        "folded": jax.jit(lambda x: plain(x, {})[0]),
        # Above they are constants, and XLA computes what it can of them while it compiles.
        "batch norm, weights as arguments": lambda x: jitted(model, state, x),
        "folded, weights as arguments": lambda x: jitted(plain, {}, x),
    }
    jitted = jax.jit(lambda model, state, x: model(x, state)[0])
    expected, found = networks["batch norm"](test.pixels), networks["folded"](test.pixels)
    largest = float(jnp.abs(found - expected).max() / jnp.abs(expected).max())
    same = int(jnp.sum(found.argmax(-1) == expected.argmax(-1)))
    correct = int(jnp.sum(found.argmax(-1) == test.labels))
    print(f"largest difference: {largest:.1e} of the largest logit")
    print(f"same answer for {same} of {len(test.labels)} test images, {correct} correct")
    arrays = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in ((model, state), plain)]
    print(f"numbers to ship: {arrays[0]} with batch norm and its state, {arrays[1]} folded")
    sizes = (1, 16, 256)
    measured = {}
    for size in sizes:
        measured[size] = times(networks, jnp.asarray(test.pixels[:size]), chosen.repetitions)
    print(f"{'milliseconds a call, images':34}" + "".join(f"{size:>9}" for size in sizes))
    for name in networks:
        print(f"{name:34}" + "".join(f"{measured[size][name]:9.3f}" for size in sizes))
    draw(measured, chosen.out / "shipping.png")


def draw(measured: dict[int, dict[str, float]], path: Path) -> None:
    """A bar for each number of images, beside the network with its batch norms."""
    slow, fast = "batch norm, weights as arguments", "folded, weights as arguments"
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    shares = [100 * found[fast] / found[slow] for found in measured.values()]
    bars = axis.bar(range(len(measured)), shares, 0.5, color=common.GREEN)
    labels = [f"{found[fast]:.2f} of {found[slow]:.2f} ms" for found in measured.values()]
    axis.bar_label(bars, labels, padding=3)
    axis.axhline(100, color=common.ORANGE)
    axis.text(-0.25, 102, "with batch norms", color=common.ORANGE)
    axis.set_xticks(range(len(measured)), list(measured))
    axis.set(
        xlabel="images in a call",
        ylabel="time of the folded network,\nper cent of the unfolded one's",
        ylim=(0, 115),
    )
    common.save(figure, path)


if __name__ == "__main__":
    main()
