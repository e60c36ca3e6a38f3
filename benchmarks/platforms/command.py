"""The command line: what is compiled, and where the results go."""

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

from ..speed.cells import KINDS
from .environment import versions

ROOT = Path(__file__).resolve().parents[2]
TARGET_NAMES = ("h100", "v5e", "v6e")
PASS_NAMES = ("forward", "backward", "both")


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
        "--only", type=_some(TARGET_NAMES), default=list(TARGET_NAMES), metavar="NAMES",
        help=f"some of the devices ({', '.join(TARGET_NAMES)}), with commas between",
    )  # fmt: skip
    parser.add_argument(
        "--cells", type=_some(tuple(KINDS)), default=list(KINDS), metavar="NAMES",
        help=f"some of the norms ({', '.join(KINDS)})",
    )  # fmt: skip
    parser.add_argument(
        "--passes", type=_some(PASS_NAMES), default=list(PASS_NAMES), metavar="NAMES",
        help=f"some of the passes ({', '.join(PASS_NAMES)})",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="three norms in float32")
    return parser.parse_args(arguments)


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


def main() -> int:
    """Compiles, prints, writes."""
    options = parsed()
    from . import cells, measuring

    wanted = cells.chosen(options.only, options.cells, options.passes, options.quick)
    results = {
        "date": date.today().isoformat(),
        "versions": versions(),
        "records": measuring.measured(wanted),
    }
    folder = ROOT / "out" / "platforms"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{results['date']}.json").write_text(
        json.dumps(results, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    printed(results)
    return 0
