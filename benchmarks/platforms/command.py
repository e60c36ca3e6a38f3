"""The command line: what is compiled, and where the results go."""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from ..speed.cells import KINDS
from ..speed.environment import versions
from .environment import DISTRIBUTIONS

ROOT = Path(__file__).resolve().parents[2]
TARGET_NAMES = ("h100", "v5e", "v6e")
PASS_NAMES = ("forward", "backward", "both")
# Beside the devices, each alone: several of them together.
TOGETHER = "several"
# And norms between two matrix products.
NETWORK = "network"


def _some(known: tuple[str, ...]) -> Any:
    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown) or 'nothing'} not known; use {', '.join(known)}"
            )
        return [name for name in known if name in names]

    return parse


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.platforms",
        description="Compiles norms for devices that need not be there, and reads kernels, bytes "
        "and cycles off the programs.",
    )
    parser.add_argument(
        "--only",
        type=_some((*TARGET_NAMES, TOGETHER, NETWORK)),
        metavar="NAMES",
        help=f"some of the devices ({', '.join(TARGET_NAMES)}), with commas between, and "
        f"{TOGETHER} for what they exchange where they hold an array together, and {NETWORK} for "
        "norms between two matrix products on H100",
    )
    parser.add_argument(
        "--cells",
        type=_some(tuple(KINDS)),
        metavar="NAMES",
        help=f"some of the norms ({', '.join(KINDS)})",
    )
    parser.add_argument(
        "--passes",
        type=_some(PASS_NAMES),
        metavar="NAMES",
        help=f"some of the passes ({', '.join(PASS_NAMES)})",
    )
    parser.add_argument(
        "--quick", action="store_true", help="three norms in float32, forward, and both passes"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="ours alone, of a few cells, against benchmarks/platforms/bars.py: exit status 1 "
        "where more kernels, bytes or cycles are needed than a bar says",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="put what is compiled into the newest file of benchmarks/results/platforms, and make "
        "the page from it; the rest of it stays as it is",
    )
    parser.add_argument(
        "--ours",
        action="store_true",
        help="with --update: compile ours alone, and keep what was found of the others",
    )
    parser.add_argument(
        "--page-from",
        type=Path,
        metavar="FILE",
        help="compile nothing; print the tables and make the page from a file of results",
    )
    parser.add_argument(
        "--bars", action="store_true", help="print, too, what was found, as lines of bars.py"
    )
    parser.add_argument(
        "--kernels",
        type=_some(("ours", "flax", "equinox")),
        metavar="NAMES",
        help="only print the kernels of their programs, with bytes over those of x, and a star at "
        "what is in on-chip memory",
    )
    options = parser.parse_args(arguments)
    if options.ours and not options.update:
        parser.error("--ours: give --update, too; what is kept of the others is in a file")
    options.whole = not (options.only or options.cells or options.passes or options.quick)
    if options.check and (
        options.update or options.page_from or options.kernels or not options.whole
    ):
        parser.error("--check: leave out the other options; it compiles cells of its own")
    if NETWORK in (options.only or ()) and (options.quick or options.passes or options.kernels):
        parser.error(
            f"--only {NETWORK}: leave out --quick, --passes and --kernels; they are of "
            "norms by themselves"
        )
    if options.page_from and (options.update or not options.whole):
        parser.error("--page-from: leave out the other options; it compiles nothing")
    # Parts named by a norm or a pass are parts of the grid.
    parts = (*TARGET_NAMES, TOGETHER, NETWORK) if options.whole else TARGET_NAMES
    options.only = options.only or list(parts)
    options.cells = options.cells or list(KINDS)
    options.passes = options.passes or list(PASS_NAMES)
    return options


def printed(results: dict[str, Any]) -> None:
    """The tables, in the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from .tables import all_tables

    console = Console(width=160)
    for table in all_tables(results):
        drawn = Table(title=table.title, caption=table.note, box=box.SIMPLE)
        for place, heading in enumerate(table.head):
            drawn.add_column(heading, justify="right" if place else "left")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)


def compiled(options: argparse.Namespace) -> dict[str, Any]:
    """Compiles what was asked for."""
    from . import cells, contestants, devices, measuring, networks

    targets = [name for name in options.only if name in TARGET_NAMES]
    wanted = cells.chosen(targets, options.cells, options.passes, options.quick)
    if not wanted and not {TOGETHER, NETWORK} & set(options.only):
        raise SystemExit("--quick has no program of these norms and passes: leave it out")
    return {
        "date": date.today().isoformat(),
        "versions": versions(DISTRIBUTIONS),
        "records": measuring.measured(wanted, ("ours",) if options.ours else contestants.NAMES),
        "devices": devices.measured(devices.SEVERAL) if TOGETHER in options.only else [],
        "networks": networks.measured(
            options.cells, ("ours",) if options.ours else networks.NAMES, measuring.say
        )
        if NETWORK in options.only
        else [],
    }


def list_kernels(options: argparse.Namespace) -> None:
    """Prints, and keeps nothing."""
    from . import cells, listing
    from .targets import TARGETS

    targets = [name for name in options.only if name in TARGET_NAMES]
    for target, cell, which in cells.chosen(targets, options.cells, options.passes, options.quick):
        for name in options.kernels:
            print(*listing.listed(TARGETS[target], cell, which, name), sep="\n", flush=True)


def told_broken(records: list[dict[str, Any]]) -> bool:
    """Says which bars are broken, and whether any is."""
    from .checking import broken

    lines = broken(records)
    for line in lines:
        print(line)
    print(f"{len(lines)} bars are broken" if lines else "all programs are within their bars")
    return bool(lines)


def check() -> int:
    """The short form."""
    from . import checking, measuring

    return int(told_broken(measuring.measured(checking.checked(), ("ours",))))


def main() -> int:
    """Compiles, prints, writes."""
    options = parsed()
    if options.check:
        return check()
    if options.kernels:
        list_kernels(options)
        return 0
    from . import checking, page

    if options.page_from:
        results, path = page.load(options.page_from), options.page_from
        shown = results
    elif options.update:
        path = page.newest()  # before anything is compiled
        shown = compiled(options)
        results = page.updated(page.load(path), shown)
    else:
        results = shown = compiled(options)
        folder = page.RESULTS if options.whole else ROOT / "out" / "platforms"
        path = folder / f"{results['date']}.json"
    printed(shown)
    if options.bars:
        print(checking.source(shown["records"]))
    if shown["records"]:
        told_broken(shown["records"])
    written = []
    if not options.page_from:
        page.save(results, path)
        written.append(path)
    if options.whole or options.update:
        page.write(results, path.name)
        written.append(page.PAGE)
    print("written:", *written, sep="\n  ")
    return 0
