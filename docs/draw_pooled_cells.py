"""Draws what each layer pools over, found out by asking it: docs/images/pooled-cells.png.

An element's statistics are of those elements that its output depends on: where the derivative of
one y by x is not 0. So the picture is of the layers, not of a text about them.

    python docs/draw_pooled_cells.py
"""

from collections.abc import Callable
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

from inox import functional

IMAGE = Path(__file__).parent / "images" / "pooled-cells.png"
SAMPLES, SPACE, CHANNELS = 4, 5, 6
SPATIAL, CHANNEL = 1, 2
# The element whose statistics are shown: at the front corner of the cube.
ELEMENT = (0, 0, CHANNELS - 1)

LAYERS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "BatchNorm": lambda x: functional.batch_norm(x)[0],
    "LayerNorm, RMSNorm": functional.layer_norm,
    "LayerNorm(axis=(-2, -1))": lambda x: functional.layer_norm(x, axis=(-2, -1)),
    "InstanceNorm": lambda x: functional.standardize(x, axis=SPATIAL),
    "GroupNorm(3)": lambda x: functional.group_norm(x, groups=3),
    "GroupNorm(3, axis=(-2, -1))": lambda x: functional.group_norm(x, groups=3, axis=(-2, -1)),
}


def pooled(layer: Callable[[jax.Array], jax.Array]) -> np.ndarray:
    """Which elements of x the output at `ELEMENT` depends on."""
    x = jax.random.normal(jax.random.key(0), (SAMPLES, SPACE, CHANNELS))
    return np.asarray(jax.grad(lambda x: layer(x)[ELEMENT])(x)) != 0


def draw(path: Path = IMAGE) -> None:
    """One cube a layer, its pooled cells coloured."""
    figure, axes = plt.subplots(
        2, 3, figsize=(11, 7.6), subplot_kw={"projection": "3d"}, layout="constrained"
    )
    for axis, (name, layer) in zip(axes.flat, LAYERS.items(), strict=True):
        cells = pooled(layer)
        colours = np.where(cells, "#2a6fdb", "#e8ecf2")
        colours[ELEMENT] = "#f28c28"
        # Drawn with the batch going back, space up and channels to the right.
        axis.voxels(
            np.ones((CHANNELS, SAMPLES, SPACE), bool),
            facecolors=colours.transpose(2, 0, 1),
            edgecolor="#5c6773",
            linewidth=0.5,
        )
        axis.set_title(f"{name}\n{cells.sum()} of {cells.size} elements", fontsize=11)
        axis.set_xlabel("channels", labelpad=-12)
        axis.set_ylabel("batch", labelpad=-12)
        axis.set_zlabel("space", labelpad=-12)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_zticks([])
        axis.set_box_aspect((CHANNELS, SAMPLES, SPACE))
        axis.view_init(elev=22, azim=-58)
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)


if __name__ == "__main__":
    draw()
