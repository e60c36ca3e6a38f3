"""What became slower over time: `python -m benchmarks.history`.

Compares the files of benchmarks/results that were measured on equal machines (processor and
instruction set), each with the one before, and prints the cells where ours, over the fastest other
library in the same cell, takes more than a tenth longer than it did.
"""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from .speed.cells import PASS_NAMES
from .speed.contestants import JAX_PEERS
from .speed.page import RESULTS, load
from .speed.residual import ONE_PASS
from .speed.tables import cell_title
from .speed.timing import fastest, ratio

PEERS = (*JAX_PEERS, "torch", "torch_first", "reference", "textbook", "theirs")
# What tells a record from the others of its part, beside its cell.
FIELDS = ("model", "network", "what", "kind", "chain", "axis", "norms", "layers", "shape")
# How many times as large a ratio must be to be told.
WORSE = 1.1

Seconds = dict[str, list[float]]


class Change(NamedTuple):
    """The ratio of ours to the fastest other in a cell, at two dates."""

    machine: str
    cell: str
    dates: tuple[str, str]
    ratios: tuple[float, float]


def machine_name(machine: dict[str, Any]) -> str:
    """What must be equal: the device, or the processor with its model, its cores and its kernels.

    Names of processors are often those of a family. Older files don't tell the kernels, which were
    the widest that the processor has.
    """
    processor = machine["processor"]
    kind = [f"{name} {processor[name]}" for name in ("family", "model") if processor.get(name)]
    device = ", ".join([processor["name"], *kind, f"{machine['cores']} cores"])
    had = processor.get("instructions", ())
    widest = "avx512" if "avx512f" in had else "avx2" if "avx2" in had else "baseline"
    return f"{machine.get('device', device)} ({machine.get('instruction_set') or widest})"


def cell_name(section: str, record: dict[str, Any]) -> str:
    """A cell as it is told from all others of a file."""
    fields = [f"{record[name]}" for name in FIELDS if name in record]
    if "layers" in record or "norms" in record:
        fields[-1] += " layers" if "layers" in record else " norms"
    title = [cell_title(record)] if "cell" in record else []
    passes = [PASS_NAMES[record["pass"]]] if "pass" in record else []
    return ", ".join([section, *title, *fields, *passes])


def measured(folder: Path) -> dict[tuple[str, str], dict[str, Seconds]]:
    """By machine and cell the seconds at each date; a part measured again has a date of its own."""
    found: dict[tuple[str, str], dict[str, Seconds]] = {}
    for path in sorted(folder.glob("*.json")):
        results = load(path)
        for section, records in results["sections"].items():
            told = results.get("updated", {}).get(section, results)
            for record in records:
                if isinstance(record.get("seconds"), dict):  # of several, so that there is a ratio
                    key = machine_name(told["machine"]), cell_name(section, record)
                    found.setdefault(key, {})[told["date"]] = record["seconds"]
    return found


def changes(folder: Path) -> list[Change]:
    """Each cell that a machine has measured at two dates, by those whom both have timed."""
    found = []
    for (machine, cell), dates in measured(folder).items():
        for before, after in pairwise(sorted(dates)):
            pair = dates[before], dates[after]
            common = pair[0].keys() & pair[1].keys()
            ours = ONE_PASS if ONE_PASS in common else "ours"
            peers = [name for name in PEERS if name in common]
            if ours in common and peers:
                ratios = tuple(ratio(s[ours], s[fastest(s, peers)]).median for s in pair)
                found.append(Change(machine, cell, (before, after), ratios))
    return found


def told(found: list[Change]) -> str:
    """The table of what became worse, or that nothing did."""
    if not found:
        return "No machine has measured a cell at two dates: there is nothing to compare."
    share = f"{WORSE - 1:.0%}"
    worse = [c for c in found if c.ratios[1] > WORSE * c.ratios[0]]
    if not worse:
        return f"None of {len(found)} cells takes over {share} more of the fastest other's time."
    lines = [f"Ours over the fastest other, where it grew by over {share}:"]
    for machine in dict.fromkeys(change.machine for change in worse):
        rows = [change for change in worse if change.machine == machine]
        width = max(len(change.cell) for change in rows)
        head = f"{'before':10} {'ratio':>6}  {'after':10} {'ratio':>6} {'worse':>6}"
        lines += ["", machine, f"{'cell':{width}}  {head}"]
        lines += [
            f"{c.cell:{width}}  {c.dates[0]:10} {c.ratios[0]:6.2f}  {c.dates[1]:10} "
            f"{c.ratios[1]:6.2f} {c.ratios[1] / c.ratios[0] - 1:6.0%}"
            for c in rows
        ]
    return "\n".join([*lines, "", f"{len(worse)} of {len(found)} cells."])


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the files and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=RESULTS, help="files of results")
    print(told(changes(parser.parse_args(arguments).folder)))


if __name__ == "__main__":
    main()
