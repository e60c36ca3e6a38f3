"""The results as tables."""

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from ..speed.cells import DASH, from_record
from ..speed.contestants import LABELS
from ..speed.tables import Table, number
from . import devices, networks
from .cells import PASSES
from .contestants import NAMES, PEERS
from .targets import TARGETS

Record = dict[str, Any]
Results = dict[str, Any]
PEOPLE = [LABELS[name] for name in NAMES]
# Arrays of the size of x that the floor reads and writes.
UNITS = {"forward": 2, "backward": 3, "both": 4}


def title(record: Record) -> str:
    """Norm, shape and dtype."""
    cell = from_record(record["cell"])
    return f"{cell.title} {cell.dtype}"


def value(record: Record, name: str, key: str) -> float | None:
    """A figure of somebody; None where there is none."""
    return record["programs"].get(name, {}).get(key)


def over_floor(record: Record, name: str) -> float | None:
    """Bytes of a program over those of the floor."""
    found = value(record, name, "bytes")
    return None if found is None else found / record["programs"]["floor"]["bytes"]


def passes_over_x(record: Record, name: str) -> float | None:
    """Bytes of a program over those of x, as the floor reads and writes it."""
    found = over_floor(record, name)
    return None if found is None else UNITS[record["pass"]] * found


def cycles_over_floor(record: Record, name: str) -> float | None:
    """The compiler's estimate over its own of the floor."""
    found, least = value(record, name, "cycles"), record["programs"]["floor"]["cycles"]
    return found / least if found and least else None


def best_peer(record: Record, key: str) -> float | None:
    """The least of the peers' figures."""
    found = [value(record, name, key) for name in PEERS]
    known = [figure for figure in found if figure is not None]
    return min(known) if known else None


def against_best(record: Record, key: str) -> float | None:
    """Ours over the least of the peers'."""
    ours, best = value(record, "ours", key), best_peer(record, key)
    return ours / best if ours and best else None


def _told(figure: float | None) -> str:
    return DASH if figure is None else number(figure)


def _cell(record: Record, name: str, figure: Callable[[Record, str], float | None]) -> str:
    """A ratio, and in how many kernels where it is one of bytes."""
    if value(record, name, "refused"):
        return "refused"
    told = _told(figure(record, name))
    kernels = value(record, name, "kernels")
    return told if figure is cycles_over_floor or kernels is None else f"{told} in {kernels}"


def _rows(
    records: list[Record], figure: Callable[[Record, str], float | None], key: str, unit: float
) -> list[list[str]]:
    return [
        [
            title(record),
            number(record["programs"]["floor"][key] / unit),
            *(_cell(record, name, figure) for name in NAMES),
            _told(against_best(record, key)),
        ]
        for record in records
    ]


def target_tables(results: Results, target: str) -> Iterator[Table]:
    """Bytes and kernels of a target, a table a pass; on TPU passes over x, and cycles."""
    named = TARGETS[target]
    on_tpu = named.platform == "tpu"
    for which, words in PASSES.items():
        records = [r for r in results["records"] if r["target"] == target and r["pass"] == which]
        if not records:
            continue
        head = ["", "floor, MiB", *PEOPLE, "ours over the best peer"]
        note, figure = "Bytes over the floor's, and in how many kernels.", over_floor
        if on_tpu:
            note = f"Passes over x (the floor has {UNITS[which]}), and in how many kernels."
            figure = passes_over_x
        rows = _rows(records, figure, "bytes", 2**20)
        yield Table(f"{named.title}, {words}", note, head, rows)
        if on_tpu:
            note = "The compiler's own estimate, over that of the floor."
            head = ["", "floor, million cycles", *head[2:]]
            rows = _rows(records, cycles_over_floor, "cycles", 1e6)
            yield Table(f"{named.title}, {words}, cycles", note, head, rows)


def _mean(values: list[float]) -> str:
    return number(statistics.geometric_mean(values)) if values else DASH


def summary(results: Results) -> Table:
    """Geometric means over the cells."""
    rows = []
    for target, named in TARGETS.items():
        for which, words in PASSES.items():
            records = [
                r for r in results["records"] if r["target"] == target and r["pass"] == which
            ]
            for key in ("bytes", "cycles") if named.platform == "tpu" else ("bytes",):
                found = [f for r in records if (f := against_best(r, key)) is not None]
                if not found:
                    continue
                above = sum(figure > 1.005 for figure in found)
                floors = [
                    value(r, "ours", key) / r["programs"]["floor"][key]
                    for r in records
                    if value(r, "ours", key)
                ]
                rows.append(
                    [
                        f"{named.title}, {words}, {key}",
                        _mean(floors),
                        _mean(found),
                        number(max(found)),
                        f"{above} of {len(found)}",
                    ]
                )
    head = [
        "",
        "ours over the floor",
        "ours over the best peer",
        "in the worst cell",
        "cells above",
    ]
    note = "Geometric means over the cells; the best peer is that of each cell. Less is better."
    return Table("Summary", note, head, rows)


def compile_table(results: Results) -> Table:
    """Seconds of the compiler, which are times and so vary."""
    rows = []
    for target, named in TARGETS.items():
        records = [r for r in results["records"] if r["target"] == target]
        cells = []
        for name in NAMES:
            found = [s for r in records if (s := value(r, name, "processor_seconds")) is not None]
            told = f"{number(statistics.median(found))}, {number(max(found))}" if found else DASH
            cells.append(told)
        if any(told != DASH for told in cells):
            rows.append([named.title, *cells])
    note = "Median and longest over all programs, in seconds of all cores of the machine."
    return Table("Time of the compiler", note, ["", *PEOPLE], rows)


def temporary_table(results: Results) -> Table:
    """What the program needs beside its operands and results."""
    rows = []
    for record in results["records"]:
        if record["pass"] != "both":
            continue
        x = math.prod(record["cell"]["shape"]) * (2 if record["cell"]["dtype"] != "float32" else 4)
        held = [value(record, name, "temporary") for name in NAMES]
        if any(figure is not None and figure > x / 100 for figure in held):
            cells = [DASH if figure is None else number(figure / x) for figure in held]
            rows.append([f"{TARGETS[record['target']].title}, {title(record)}", *cells])
    note = "Forward + backward, over the size of x; programs that need a hundredth of it or more."
    return Table("Temporary memory", note, ["", *PEOPLE], rows)


def network_tables(results: Results) -> Iterator[Table]:
    """What a norm between two matrix products adds to them, forward and in a training step."""
    for target, named in TARGETS.items():
        records = [r for r in results.get("networks", []) if r["target"] == target]
        if not records:
            continue
        rows, against = [], {which: [] for which in networks.UNITS}
        for record in records:
            found = record["programs"]
            cells = [
                " / ".join(_told(found.get(name, {}).get(which)) for which in networks.UNITS)
                if "refused" not in found.get(name, {})
                else "refused"
                for name in networks.NAMES
            ]
            for which, ratios in against.items():
                known = [found[name][which] for name in PEERS if which in found.get(name, {})]
                ours = found.get("ours", {}).get(which)
                if ours and known:
                    ratios.append(ours / min(known))
            rows.append([title(record), *cells])
        means = " / ".join(_mean(ratios) for ratios in against.values())
        least = " / ".join(map(str, networks.UNITS.values()))
        note = (
            "Passes over x that a norm between two matrix products adds to them, forward / in a "
            f"training step; a norm that is a kernel of its own makes {least} at least. "
            f"Ours over the best peer, geometric mean: {means}. Equinox's batch and group norm "
            "take channels first; theirs hold the transposes that its products need."
        )
        head = ["", *(LABELS[name] for name in networks.NAMES)]
        yield Table(f"{named.title}, in a network", note, head, rows)


def device_table(results: Results) -> Table:
    """Exchanges between devices, and their bytes."""
    rows = []
    for record in results["devices"]:
        told = [
            f"{found['collectives']}: {found['bytes']:,} B" if found["collectives"] else "none"
            for found in (record["programs"][name] for name in devices.NAMES)
        ]
        what = f"{title(record)}, {record['split']} split, {PASSES[record['pass']]}"
        rows.append([f"{devices.TITLES[record['target']]}, {what}", *told])
    note = (
        "How many exchanges there are, and the bytes of their results on each device. Parameters "
        "and their gradients are on every device, or split as the channels are."
    )
    return Table("Many devices", note, ["", *(LABELS[name] for name in devices.NAMES)], rows)


def all_tables(results: Results) -> list[Table]:
    """In the order of the page."""
    found = [summary(results)]
    for target in TARGETS:
        found += target_tables(results, target)
    found += [
        *network_tables(results),
        device_table(results),
        temporary_table(results),
        compile_table(results),
    ]
    return [table for table in found if table.rows]
