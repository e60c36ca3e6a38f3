"""The picture of a drift: a line for each batch norm, a dot for each channel."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PANELS = {
    "mean_score": "shift of the mean\nin running deviations",
    "log_variance_ratio": "log ratio of the variances\nnew to running",
    "divergence": "divergence\nin nats",
}


def draw(rows: Sequence[Any], path: str | Path) -> None:
    """Draws shift, log ratio and divergence of each channel into a file."""
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError(
            "Drift.plot draws with matplotlib, which isn't installed: pip install matplotlib. "
            "print(drift) shows a table without it."
        ) from error
    # A figure of its own, without pyplot: no window, and no global state is touched.
    figure = figures.Figure(figsize=(11, 2 + 0.4 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for panel, (name, label) in zip(panels, PANELS.items(), strict=True):
        for line, row in enumerate(rows):
            values = getattr(row, name)
            spread = line + (np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else 0)
            panel.plot(values, spread, ".", color="C0", alpha=0.7)
        panel.set_xlabel(label)
        panel.axvline(0, color="0.4", linewidth=1)
        panel.grid(axis="x", alpha=0.25)
        panel.locator_params(axis="x", nbins=6)  # of more the numbers would meet
    panels[-1].set_xscale("symlog", linthresh=1e-3)  # channels are often orders of magnitude apart
    panels[0].set_yticks(range(len(rows)), [row.layer for row in rows])
    panels[0].invert_yaxis()
    figure.savefig(path)
