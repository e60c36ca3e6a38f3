"""The picture of a drift: a line for each batch norm, a dot for each channel."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# A colour that readers with a colour vision deficiency tell from the grey beside it.
BLUE = "#0072B2"


def draw(rows: Sequence[Any], path: str | Path) -> None:
    """Draws shift, log ratio and divergence of each channel into a file."""
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError(
            "Drift.plot draws with matplotlib, which isn't installed: pip install matplotlib. "
            "print(drift) shows a table without it."
        ) from error
    height = 1.6 + 0.32 * max(len(rows), 2)
    # A figure of its own, without pyplot: no window, and no global state is touched.
    figure = figures.Figure(figsize=(11, height), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    panels = (
        ("mean_score", "shift of the mean\nin running deviations", None),
        ("log_variance_ratio", "log ratio of the variances\nnew to running", None),
        ("divergence", "divergence\nin nats", "log"),
    )
    # The first layer on top; the channels of a layer side by side within its line.
    for axis, (name, label, scale) in zip(axes, panels, strict=True):
        for index, row in enumerate(rows):
            values = getattr(row, name)
            values = np.where(np.isfinite(values), values, np.nan)  # nothing is drawn for these
            if scale == "log":  # what is exactly 0 stands at the left edge
                values = np.maximum(values, 1e-12)
            spread = np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else np.zeros(1)
            axis.plot(values, index + spread, ".", color=BLUE, markersize=4, alpha=0.7)
            axis.axhline(index + 0.5, color="0.9", linewidth=0.8)
        if scale and any(np.isfinite(row.divergence).any() for row in rows):
            axis.set_xscale(scale)
        else:
            axis.axvline(0, color="0.4", linewidth=1)
            low, high = axis.get_xlim()
            widest = max(abs(low), abs(high), 0.01)
            axis.set_xlim(-widest, widest)
        axis.set_xlabel(label)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.25)
    axes[0].set_yticks(range(len(rows)), [row.layer for row in rows])
    axes[0].set_ylim(max(len(rows), 1) - 0.5, -0.5)
    figure.savefig(path, dpi=150)
