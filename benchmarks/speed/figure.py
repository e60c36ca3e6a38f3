"""The figures: how far from the floor everybody is in each cell, and how time grows."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .cells import DTYPES, PASS_NAMES, from_record
from .tables import label
from .timing import ratio, spread

Results = dict[str, Any]

# Told apart by colour and by marker; ours is drawn last and larger.
STYLES = {
    "ours": ("#d1495b", "o"),
    "ours_xla": ("#f2a6a0", "o"),
    "flax": ("#30638e", "s"),
    "equinox": ("#edae49", "^"),
    "haiku": ("#00798c", "v"),
    "torch": ("#6b705c", "P"),
    "torch_first": ("#a3a78f", "X"),
    "floor": ("#000000", "_"),
}
TICKS = (0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100)


def draw_grid(results: Results, path: Path) -> None:
    """Time over the floor: a row a cell, a panel a pass and dtype; bars are quartiles."""
    plt.switch_backend("Agg")  # no window is opened
    records = results["sections"]["grid"]
    dtypes = [d for d in DTYPES if any(r["cell"]["dtype"] == d for r in records)]
    titles = list(dict.fromkeys(from_record(r["cell"]).title for r in records))
    figure, panels = plt.subplots(
        2,
        len(dtypes),
        figsize=(5.6 * len(dtypes) + 1, 0.8 * len(titles) + 3),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    names = [n for n in STYLES if any(n in r["seconds"] for r in records) and n != "floor"]
    for row, which in zip(panels, ("both", "forward"), strict=True):
        for panel, dtype in zip(row, dtypes, strict=True):
            for record in records:
                if record["pass"] == which and record["cell"]["dtype"] == dtype:
                    height = len(titles) - 1 - titles.index(from_record(record["cell"]).title)
                    _draw_cell(panel, record["seconds"], height, names)
            panel.axvline(1, color="black", linewidth=1)
            panel.set_title(f"{PASS_NAMES[which]}, {dtype}", fontsize=11)
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(FixedLocator(TICKS))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panel.grid(axis="x", alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
            for height in range(len(titles) - 1):
                panel.axhline(height + 0.5, color="black", alpha=0.08, linewidth=0.8)
    panels[0, 0].set_yticks(range(len(titles)), titles[::-1])
    panels[0, 0].set_ylim(-0.5, len(titles) - 0.5)
    for panel in panels[-1]:
        panel.set_xlabel("time / time of reading and writing alone (the floor, 1)")
    handles = [
        plt.Line2D(
            [],
            [],
            linestyle="",
            marker=STYLES[n][1],
            color=STYLES[n][0],
            markersize=9 if n == "ours" else 7,
            label=label(results, n),
        )
        for n in names
    ]
    columns = len(names) if len(dtypes) > 1 else 4
    figure.legend(handles=handles, frameon=False, loc="lower center", ncols=columns)
    figure.tight_layout(rect=(0, 0.05 if len(dtypes) > 1 else 0.1, 1, 1))
    _save(figure, path)


def _draw_cell(panel: Any, seconds: dict[str, list[float]], height: int, names: list[str]) -> None:
    """Everybody in a cell, one above the other, so that no marker hides another."""
    for place, name in enumerate(names):
        if name not in seconds:
            continue
        colour, marker = STYLES[name]
        found = ratio(seconds[name], seconds["floor"])
        y = height + 0.34 - 0.68 * place / max(1, len(names) - 1)
        panel.plot([found.low, found.high], [y, y], color=colour, linewidth=2, alpha=0.5)
        size = 9 if name == "ours" else 6
        panel.plot(found.median, y, marker=marker, color=colour, markersize=size)


def draw_growth(results: Results, path: Path) -> None:
    """Time over rows and over columns, both axes logarithmic."""
    plt.switch_backend("Agg")  # no window is opened
    records = results["sections"]["growth"]
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True)
    for panel, axis in zip(panels, ("rows", "columns"), strict=True):
        chosen = [r for r in records if r["axis"] == axis]
        place = 0 if axis == "rows" else 1
        fixed = chosen[0]["cell"]["shape"][1 - place]
        names = [n for n in STYLES if n in chosen[0]["seconds"]]
        for name in names[::-1]:
            colour, marker = STYLES[name]
            sizes = [r["cell"]["shape"][place] for r in chosen]
            spreads = [spread(1e3 * s for s in r["seconds"][name]) for r in chosen]
            panel.plot(
                sizes,
                [s.median for s in spreads],
                color=colour,
                marker=marker,
                label=label(results, name),
                linewidth=2.6 if name == "ours" else 1.4,
                markersize=6,
                linestyle="--" if name == "floor" else "-",
            )
            panel.fill_between(
                sizes, [s.low for s in spreads], [s.high for s in spreads], color=colour, alpha=0.12
            )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.xaxis.set_major_locator(FixedLocator([r["cell"]["shape"][place] for r in chosen]))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        other = "columns" if axis == "rows" else "rows"
        panel.set_xlabel(f"{axis}, of {fixed} {other}")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("milliseconds, forward + backward")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], frameon=False, loc="lower center", ncols=len(labels))
    figure.suptitle("Layer norm in float32")
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


DRAWN = {"grid": draw_grid, "growth": draw_growth}
