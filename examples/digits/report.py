"""The table and the figure at the end of a run."""

import json
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import numpy as np

# Draws into files, with or without a screen.
mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator
from network import MOMENTUM
from rich.console import Console
from rich.table import Table
from training import History

# Colours that readers with a colour vision deficiency tell apart.
COLOURS = {"batch": "#0072B2", "layer": "#D55E00", "group": "#009E73", "none": "#7F7F7F"}
SHADES = ("#9ECAE1", "#6BAED6", "#2171B5", "#08306B")  # from the first layer to the last


def print_table(histories: list[History]) -> None:
    """Prints the accuracies in both modes and the time of a step, a row for each network."""
    table = Table()
    table.add_column("norm")
    columns = list(histories[0].final)
    for images, mode in columns:
        table.add_column(f"{images}\n{mode}\nmode", justify="right")
    table.add_column("seconds\na step", justify="right")
    table.add_column("seconds\nin all", justify="right")
    for history in histories:
        table.add_row(
            history.norm,
            *(f"{history.final[column].accuracy:.2%}" for column in columns),
            f"{history.seconds_a_step:.4f}",
            f"{history.seconds:.1f}",
        )
    Console().print(table)
    print("In training mode batch norm uses the statistics of the images at hand, in")
    print("evaluation mode its running ones. The other networks do the same in both.")


def write_numbers(histories: list[History], path: Path) -> None:
    """Writes all that was measured as JSON."""
    numbers = []
    for history in histories:
        entry = asdict(history)
        entry["final"] = {
            f"{images}, {mode} mode": score.accuracy
            for (images, mode), score in history.final.items()
        }
        entry["test"] = [score._asdict() for score in history.test]
        entry["distances"] = {
            layer: [distance._asdict() for distance in found]
            for layer, found in history.distances.items()
        }
        numbers.append(entry)
    path.write_text(json.dumps(numbers, indent=1) + "\n")


def draw(histories: list[History], path: Path) -> None:
    """Draws the learning curves and, where batch norm took part, its running statistics."""
    batch = next((history for history in histories if history.distances), None)
    rows = 2 if batch else 1
    figure, axes = plt.subplots(
        rows, 2, figsize=(11, 0.4 + 4.0 * rows), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.12)
    draw_accuracy(axes[0, 0], histories)
    draw_loss(axes[0, 1], histories)
    if batch:
        draw_distances(axes[1, 0], batch, "mean", "in standard deviations")
        draw_distances(axes[1, 1], batch, "variance", "relative")
        axes[1, 1].legend(frameon=False, fontsize="small", loc="lower left")
        axes[1, 0].annotate(
            "First the starting value is forgotten. Then the\n"
            "network settles, as its learning rate falls to zero,\n"
            "and the running statistics catch up with it.",
            xy=(0.04, 0.05),
            xycoords="axes fraction",
            fontsize="small",
        )
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_accuracy(axis: Axes, histories: list[History]) -> None:
    """Draws the test accuracy after each epoch."""
    for history in histories:
        percent = [100 * score.accuracy for score in history.test]
        axis.plot(epochs(history), percent, ".-", color=COLOURS[history.norm], label=history.norm)
    axis.set(title="Test accuracy in evaluation mode", xlabel="epoch", ylabel="per cent")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    axis.legend(title="norm", frameon=False, loc="lower right")


def draw_loss(axis: Axes, histories: list[History]) -> None:
    """Draws the test loss after each epoch."""
    for history in histories:
        losses = [score.loss for score in history.test]
        axis.plot(epochs(history), losses, ".-", color=COLOURS[history.norm])
    axis.set(title="Test loss in evaluation mode", xlabel="epoch", ylabel="cross entropy")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")


def draw_distances(axis: Axes, history: History, statistic: str, unit: str) -> None:
    """Draws how far one running statistic is from its value over the whole training set.

    The dashed line is the weight that the starting value still has in the running statistic.
    """
    last = 1
    for shade, (layer, found) in zip(SHADES, history.distances.items(), strict=True):
        steps = [distance.step for distance in found]
        values = [getattr(distance, statistic) for distance in found]
        axis.plot(steps, values, color=shade, label=layer)
        last = steps[-1]
    steps = np.geomspace(1, min(last, 60))
    label = f"${MOMENTUM}^t$, the weight of the starting value"
    axis.plot(steps, MOMENTUM**steps, "k--", linewidth=1, label=label)
    axis.set(
        title=f"Batch norm: running {statistic} against the training set's",
        xlabel="training step t",
        ylabel=f"distance, {unit}",
        xscale="log",
        yscale="log",
    )
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter("{x:g}")


def epochs(history: History) -> range:
    """Returns the numbers of the epochs, from 1."""
    return range(1, len(history.test) + 1)
