"""The figure: the error of layer norm against mean/std, a line a library."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

# Told apart by colour and by marker; ours is drawn last and thicker.
STYLES = {
    "inox, kernels": ("#d1495b", "o"),
    "inox, formulas": ("#f4a3a0", "o"),
    "flax": ("#30638e", "s"),
    "equinox": ("#edae49", "^"),
    "haiku": ("#00798c", "v"),
    "keras": ("#8d6a9f", "D"),
    "torch": ("#6b705c", "P"),
}


def draw(
    path: Path,
    ratios: np.ndarray,
    errors: dict[str, dict[str, list[float]]],
    bounds: dict[str, float],
) -> None:
    """Draws `errors[result][library]`, an error for each ratio, with our bound as a dashed line."""
    plt.switch_backend("Agg")  # no window is opened
    figure, panels = plt.subplots(1, len(errors), figsize=(10.5, 4.6), sharey=True)
    titles = {"y": "the output y", "dx": "the gradient of x"}
    for panel, (result, by_library) in zip(panels, errors.items(), strict=True):
        for name in reversed(by_library):
            colour, marker = STYLES[name]
            values = np.minimum(np.nan_to_num(by_library[name], nan=np.inf), 1e10)
            panel.plot(
                ratios,
                values,
                color=colour,
                marker=marker,
                label=name,
                markersize=5,
                linewidth=2.6 if name.startswith("inox") else 1.4,
            )
        panel.axhline(bounds[result], color="#d1495b", linestyle="--", linewidth=1)
        panel.annotate(
            f"bound of our formulas, {bounds[result]:g} ulp",
            (ratios[-1], bounds[result]),
            color="#d1495b",
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            fontsize=9,
        )
        panel.set(xscale="log", yscale="log", title=titles[result])
        panel.set_xlabel("mean / standard deviation of a row")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_ylim(0.3, 5e10)
    panels[0].set_ylabel("worst error (units in the last place)")
    # Where every digit of a float32 of size 1 is wrong.
    for panel in panels:
        panel.axhline(2.0**23, color="black", linewidth=0.8, linestyle=":")
        panel.annotate(
            "no digit right",
            (ratios[0], 2.0**23),
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=9,
        )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], frameon=False, loc="lower center", ncols=len(labels))
    figure.suptitle("Layer norm in float32: worst rounding error, 64 rows of 768")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
