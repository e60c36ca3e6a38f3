"""What the programs of this folder share: the digits, a training step, options and figures."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

# The network, its data and its evaluation are those of the other example.
sys.path.insert(0, str(Path(__file__).parents[1] / "digits"))

import jax
import matplotlib as mpl
import optax

# Draws into files, with or without a screen.
mpl.use("agg")

import matplotlib.pyplot as plt
from data import Images
from evaluation import loss_and_correct
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator
from network import Network

# Colours that readers with a colour vision deficiency tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"


def options(description: str, **numbers: int) -> argparse.Namespace:
    """Returns the options: `--out`, and a whole number for each name with its default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("out/statistics"), help="folder to write")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    return chosen


def make_step(optimizer: optax.GradientTransformation) -> Callable:
    """Returns the compiled training step. Model, state and memory go in, new ones come out."""

    def loss_function(model: Network, state: dict, batch: Images) -> tuple:
        logits, state = model(batch.pixels, state)
        return loss_and_correct(logits, batch.labels)[0], state

    @jax.jit
    def step(model: Network, state: dict, memory: optax.OptState, batch: Images) -> tuple:
        gradient = jax.value_and_grad(loss_function, has_aux=True)
        (loss, state), gradients = gradient(model, state, batch)
        updates, memory = optimizer.update(gradients, memory, model)
        return optax.apply_updates(model, updates), state, memory, loss

    return step


def plain_ticks(axis: Axis) -> None:
    """Labels a logarithmic axis with plain numbers: 0.1, 0.2, 0.5, 1, ..."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def save(figure: plt.Figure, path: Path) -> None:
    """Writes a figure without the frame's upper and right side, and says where."""
    for axis in figure.axes:
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Figure: {path}")
