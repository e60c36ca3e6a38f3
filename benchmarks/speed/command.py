"""The command line: which parts run, and where the results go."""

import argparse
import json
import os
import time
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any

from . import environment
from .cells import KINDS
from .environment import ROOT

PARTS = (
    "grid",
    "plain",
    "dispatch",
    "residual",
    "weights",
    "streams",
    "chains",
    "networks",
    "frameworks",
    "growth",
    "saved",
    "outside",
    "import",
    "bandwidth",
)
# On a GPU: what depends on the device, not on the host.
GPU_PARTS = (
    "grid",
    "dispatch",
    "residual",
    "weights",
    "streams",
    "chains",
    "growth",
    "bandwidth",
)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Measures norms side by side, prints tables, draws them, writes the page.",
        epilog=f"Where {environment.REFERENCE_VARIABLE} names the folder that holds the "
        "distribution called inox, it is measured too.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few rounds and a part of the cells; written to out/speed, not to the page",
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help=f"some of the norms ({', '.join(KINDS)}) and parts ({', '.join(PARTS)}), with commas "
        "between; norms alone mean grid and plain; written to out/speed",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="measure the parts of --only in full, put them into the newest file of "
        "benchmarks/results, and make the page from it; its other parts stay as they are",
    )
    parser.add_argument("--platform", choices=("cpu", "gpu"), default="cpu", help="default: cpu")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write results and figures there, and leave the page alone",
    )
    parser.add_argument(
        "--page-from",
        type=Path,
        metavar="FILE",
        help="measure nothing; make page and figures from a file of benchmarks/results",
    )
    options = parser.parse_args(arguments)
    chosen = [name for name in options.only.split(",") if name]
    unknown = [name for name in chosen if name not in (*KINDS, *PARTS)]
    if unknown:
        parser.error(f"--only: {', '.join(unknown)} not known; use {', '.join((*KINDS, *PARTS))}")
    if options.update:
        if not chosen or not set(chosen) <= set(PARTS):
            parser.error(
                "--update: name the parts, and no norms, with --only; whole parts are put in"
            )
        if options.quick or options.output or options.page_from:
            parser.error("--update: leave out --quick, --output and --page-from")
    options.kinds = {name for name in chosen if name in KINDS} or set(KINDS)
    parts = [name for name in chosen if name in PARTS]
    if not parts:
        of_platform = PARTS if options.platform == "cpu" else GPU_PARTS
        parts = ["grid", "plain"] if chosen else list(of_platform)
    options.parts = [name for name in PARTS if name in parts]
    options.whole = not chosen and not options.quick
    return options


def described(platform: str) -> dict[str, Any]:
    """The machine, and which of the CPU's kernels it takes."""
    # Told before JAX starts, which then takes that platform or says why it can't.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory too
    os.environ["JAX_PLATFORMS"] = "cpu" if platform == "cpu" else "cuda"
    from . import instruction_sets

    if platform == "gpu" and not environment.has_gpu():
        raise SystemExit(
            "--platform gpu: JAX finds no GPU here. Install a build of JAX for CUDA, or leave the "
            "option out."
        )
    description = environment.machine(platform)
    if platform == "cpu":
        description["instruction_set"] = instruction_sets.in_use()
    return description


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the parts."""
    description = described(options.platform)
    from . import contestants, sections
    from .worker import Process

    found, missing = contestants.available(options.platform)
    versions = environment.versions()
    run = sections.Run(options.platform, options.quick, found, options.kinds)
    for line in missing:
        run.say(line)
    try:
        for name, contestant in found.items():
            if contestant.own_process:
                run.processes[name] = Process(name)
                if not contestant.instruction_set:
                    versions[name] = run.processes[name].version
        if "torch" in found:
            import torch

            torch.set_num_threads(environment.cores())
        start = time.monotonic()
        parts = {name: sections.SECTIONS[name](run) for name in options.parts}
        run.say(f"measured in {time.monotonic() - start:.0f} s")
    finally:
        for process in run.processes.values():
            process.close()
    return {
        "date": date.today().isoformat(),
        "quick": options.quick,
        "machine": description,
        "versions": versions,
        "missing": missing,
        "sections": {name: records for name, records in parts.items() if records},
    }


def printed(results: dict[str, Any]) -> None:
    """The tables, in the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from .tables import all_tables

    console = Console(width=None if os.isatty(1) else 200)
    for table in all_tables(results):
        drawn = Table(title=table.title, caption=table.note, box=box.SIMPLE)
        for place, heading in enumerate(table.head):
            drawn.add_column(heading, justify="right" if place else "left")
        for row in table.rows:
            drawn.add_row(*(text.replace("`", "") for text in row))
        console.print(drawn)


def drawn(results: dict[str, Any], folder: Path, measured: Collection[str]) -> list[Path]:
    """The figures of what was measured."""
    from .figure import DRAWN
    from .page import figure_name

    place = environment.place(results["machine"])
    paths = []
    for section, draw in DRAWN.items():
        if section in measured:
            paths.append(folder / figure_name(section, place))
            draw(results, paths[-1])
    return paths


def main() -> None:
    """Measures, prints, draws, writes."""
    options = parsed()
    from . import page, updating

    figures, to_page = ROOT / "docs" / "images", True
    if options.page_from:
        shown = results = page.load(options.page_from)
        path = options.page_from
    elif options.update:
        # Before anything is measured.
        path = updating.newest(environment.place(described(options.platform)))
        shown = measured(options)
        results = updating.updated(page.load(path), shown)
    else:
        shown = results = measured(options)
        folder = options.output or (page.RESULTS if options.whole else ROOT / "out" / "speed")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{results['date']}-{environment.slug(results['machine'])}.json"
        to_page = options.whole and not options.output
        figures = figures if to_page else folder
    if not options.page_from:
        path.write_text(json.dumps(results, ensure_ascii=False) + "\n", encoding="utf-8")
    printed(shown)
    written = [path, *drawn(results, figures, shown["sections"])]
    if to_page:
        page.write(results, path.name)
        written.append(page.PAGE)
    print("written:", *written, sep="\n  ")
