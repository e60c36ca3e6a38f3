"""The page docs/speed.md: what stands between its marks is made from a file of results alone."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..markdown_table import markdown_table
from ..marked_part import marks, with_part
from .cells import PASS_NAMES
from .environment import ROOT, place
from .tables import Table, all_tables, cell_title, label, residual_table

Results = dict[str, Any]
PAGE = ROOT / "docs" / "speed.md"
RESIDUAL_PAGE = ROOT / "docs" / "residual.md"
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = {"grid": "speed{}.png", "growth": "speed-growth{}.png"}
# The parts whose results are compared before they are timed, and what stands before a cell's title.
COMPARED = {"grid": "", "plain": "", "residual": "a residual and "}
CAPTIONS = {
    "grid": "Time over the floor in each cell, a marker a library",
    "growth": "Time over the number of rows and of columns",
}


def part_name(place: str) -> str:
    """The name of the part of a kind of machine."""
    return f"measured on {place}"


def figure_name(section: str, place: str) -> str:
    """The file of a figure."""
    return FIGURES[section].format("" if place == "cpu" else f"-{place.split()[-1]}")


def markdown(table: Table) -> str:
    """A table with its title, which breaks no line of the page's headings."""
    pieces = [f"### {table.title}", table.note, markdown_table(table.head, table.rows)]
    return "\n\n".join(piece for piece in pieces if piece)


def told_machine(results: Results) -> str:
    """Date, machine and versions in a paragraph."""
    machine, versions = results["machine"], results["versions"]
    processor = machine["processor"]
    where = f"{processor['name']}, {machine['cores']} cores"
    if processor.get("instructions"):
        where += f" ({', '.join(processor['instructions'])})"
    if machine.get("instruction_set"):
        where += f", our kernels with {machine['instruction_set']}"
    if "device" in machine:
        where = f"{machine['device']} (host: {where})"
    shown = ", ".join(
        f"{'inox (the other distribution)' if name == 'reference' else name} {version}"
        for name, version in versions.items()
    )
    return f"{results['date']}: {where}; {shown}."


def _distinct(values: Iterable[Any]) -> list[Any]:
    """In the order in which they first appear; they need not be hashable."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _problems(results: Results, sections: Iterable[str]) -> list[str]:
    """Who was wrong, and who was inexact, with what."""
    pieces = []
    for key, heading in (("wrong", "Not timed"), ("inexact", "Timed, though inexact")):
        problems = [
            f"- {label(results, name)}, {COMPARED[section]}{cell_title(record)}, "
            f"{PASS_NAMES[record['pass']]}: {told}"
            for section in sections
            for record in results["sections"].get(section, [])
            for name, told in record.get(key, {}).items()
        ]
        if problems:
            pieces.append("\n".join([f"{heading}:", "", *problems]))
    return pieces


def residual_part(results: Results, source: str) -> str | None:
    """What stands in the page on residuals; None where they weren't measured."""
    tables = [markdown(table) for table in residual_table(results)]
    if not tables:
        return None
    told = told_machine(results.get("updated", {}).get("residual", results))
    origin = f"Made from `benchmarks/results/{source}`. {told}"
    return "\n\n".join([*tables, *_problems(results, ["residual"]), origin])


def part(results: Results, source: str) -> str:
    """What stands between the marks."""
    pieces = [f"Made from `benchmarks/results/{source}`. {told_machine(results)}"]
    if results["quick"]:
        pieces.append("This was a short run: few rounds, and a part of the cells.")
    if results["missing"]:
        pieces.append("Not measured: " + "; ".join(results["missing"]) + ".")
    for told in _distinct(results.get("updated", {}).values()):
        names = [name for name, held in results["updated"].items() if held == told]
        pieces.append(f"Measured again, alone: {', '.join(names)}. {told_machine(told)}")
    pieces += _problems(results, COMPARED)
    pieces += [
        f"![{CAPTIONS[section]}](images/{figure_name(section, place(results['machine']))})"
        for section in FIGURES
        if section in results["sections"]
    ]
    pieces += [markdown(table) for table in all_tables(results)]
    return "\n\n".join(pieces)


def load(path: Path) -> Results:
    """A file of results."""
    return json.loads(path.read_text(encoding="utf-8"))


def write(results: Results, source: str) -> None:
    """Exchanges the part of this kind of machine, and the table of the page on residuals."""
    page, name = PAGE.read_text(encoding="utf-8"), part_name(place(results["machine"]))
    if marks(name)[0] not in page:
        raise SystemExit(
            f"{PAGE.name} has no part for this kind of machine ({place(results['machine'])}). The "
            f"results are in {source}; add the marks {' '.join(marks(name))} to have them shown."
        )
    PAGE.write_text(with_part(page, name, part(results, source)), encoding="utf-8")
    if results["machine"]["platform"] == "cpu" and (text := residual_part(results, source)):
        page = RESIDUAL_PAGE.read_text(encoding="utf-8")
        RESIDUAL_PAGE.write_text(with_part(page, "times", text), encoding="utf-8")
