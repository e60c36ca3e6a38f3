"""The results as tables."""

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from ..speed.cells import DASH, from_record
from ..speed.contestants import LABELS
from ..speed.tables import Table, number
from .cells import PASSES
from .contestants import NAMES, PEERS
from .targets import TARGETS

Record = dict[str, Any]
Results = dict[str, Any]


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
    units = {"forward": 2, "backward": 3, "both": 4}[record["pass"]]
    return None if found is None else units * found


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


def _of(
    records: list[Record], target: str, which: str, say: Callable[[Record, str], str], floor: str
) -> list[list[str]]:
    key = "cycles" if floor == "cycles" else "bytes"
    return [
        [
            title(record),
            _floor(record, floor),
            *(say(record, name) for name in NAMES),
            _told(against_best(record, key)),
        ]
        for record in records
        if record["target"] == target and record["pass"] == which
    ]


def _floor(record: Record, floor: str) -> str:
    if floor == "cycles":
        return number(record["programs"]["floor"]["cycles"] / 1e6)
    return number(record["programs"]["floor"]["bytes"] / 2**20)


def _refused_or(record: Record, name: str, say: Callable[[], str]) -> str:
    return "refused" if value(record, name, "refused") else say()


def _bytes_and_kernels(record: Record, name: str) -> str:
    def say() -> str:
        return f"{_told(over_floor(record, name))} in {value(record, name, 'kernels')}"

    return _refused_or(record, name, say) if name in record["programs"] else DASH


def _passes_and_kernels(record: Record, name: str) -> str:
    def say() -> str:
        return f"{_told(passes_over_x(record, name))} in {value(record, name, 'kernels')}"

    return _refused_or(record, name, say) if name in record["programs"] else DASH


def _cycles(record: Record, name: str) -> str:
    def say() -> str:
        found, least = value(record, name, "cycles"), record["programs"]["floor"]["cycles"]
        return DASH if not found or not least else number(found / least)

    return _refused_or(record, name, say) if name in record["programs"] else DASH


PEOPLE = [LABELS[name] for name in NAMES]


def target_tables(results: Results, target: str) -> Iterator[Table]:
    """Bytes and kernels of a target, a table a pass; on TPU passes over x, and cycles."""
    records, named = results["records"], TARGETS[target]
    on_tpu = named.platform == "tpu"
    for which, words in PASSES.items():
        if on_tpu:
            least = {"forward": 2, "backward": 3, "both": 4}[which]
            note = f"Passes over x (the floor has {least}), and in how many kernels."
            rows = _of(records, target, which, _passes_and_kernels, "bytes")
        else:
            note = "Bytes over the floor's, and in how many kernels."
            rows = _of(records, target, which, _bytes_and_kernels, "bytes")
        head = ["", "floor, MiB", *PEOPLE, "ours over the best peer"]
        if rows:
            yield Table(f"{named.title}, {words}", note, head, rows)
        if on_tpu and rows:
            note = "The compiler's own estimate, over that of the floor."
            rows = _of(records, target, which, _cycles, "cycles")
            head = ["", "floor, million cycles", *PEOPLE, "ours over the best peer"]
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
        "", "ours over the floor", "ours over the best peer", "in the worst cell", "cells above",
    ]  # fmt: skip
    note = "Geometric means over the cells; the best peer is that of each cell. Less is better."
    return Table("Summary", note, head, rows)


def compile_table(results: Results) -> Table:
    """Seconds of the compiler, which are times and so vary."""
    rows = []
    for target, named in TARGETS.items():
        records = [r for r in results["records"] if r["target"] == target]
        cells = []
        for name in NAMES:
            found = [s for r in records if (s := value(r, name, "compile_seconds")) is not None]
            told = f"{number(statistics.median(found))}, {number(max(found))}" if found else DASH
            cells.append(told)
        if records:
            rows.append([named.title, *cells])
    note = "Median and longest over all programs, in seconds, on the machine that compiled."
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


def all_tables(results: Results) -> list[Table]:
    """In the order of the page."""
    found = [summary(results)]
    for target in TARGETS:
        found += target_tables(results, target)
    found += [temporary_table(results), compile_table(results)]
    return [table for table in found if table.rows]
