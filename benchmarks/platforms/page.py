"""The page docs/platforms.md: what stands between its marks is made from a file of results."""

import json
from pathlib import Path
from typing import Any

from ..marked_part import with_part
from ..speed.page import markdown
from .tables import all_tables

Results = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "platforms.md"
RESULTS = ROOT / "benchmarks" / "results" / "platforms"
PART = "compiled"
LISTS = ("records", "devices", "networks")


def part(results: Results, source: str) -> str:
    """What stands between the marks."""
    told = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    pieces = [f"Made from `benchmarks/results/platforms/{source}`. {results['date']}: {told}."]
    pieces += [markdown(table) for table in all_tables(results)]
    return "\n\n".join(pieces)


def load(path: Path) -> Results:
    """A file of results."""
    return json.loads(path.read_text(encoding="utf-8"))


def save(results: Results, path: Path) -> None:
    """A record a line, so that a difference can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {name: value for name, value in results.items() if not isinstance(value, list)}
    text = json.dumps(held, ensure_ascii=False)[:-1]
    for name in (name for name in LISTS if name in results):
        lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in results[name])
        text += f',\n"{name}": [\n{lines}\n]'
    path.write_text(text + "}\n", encoding="utf-8")


def write(results: Results, source: str) -> None:
    """Exchanges the part in the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_part(page, PART, part(results, source)), encoding="utf-8")


def newest() -> Path:
    """The newest file of results."""
    found = sorted(RESULTS.glob("*.json"))
    if not found:
        raise SystemExit(
            f"--update: {RESULTS} holds no results. Compile everything first, with make platforms."
        )
    return found[-1]


def _identity(record: dict[str, Any]) -> tuple[Any, ...]:
    cell = record["cell"]
    named = (cell["kind"], *cell["shape"], cell["dtype"])
    return record["target"], named, record.get("pass"), record.get("split")


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A record, with those programs of the old one that were not compiled again."""
    if "programs" not in new:
        return new
    return {**new, "programs": {**old["programs"], **new["programs"]}}


def updated(whole: Results, again: Results) -> Results:
    """The results with what was compiled again in its place."""
    if whole["versions"] != again["versions"]:
        raise SystemExit(
            f"--update: the file was made with {whole['versions']}, these are "
            f"{again['versions']}. Compile everything again, with make platforms."
        )
    found = {**whole, "date": again["date"]}
    for name in LISTS:
        fresh = {_identity(record): record for record in again.get(name, [])}
        held = whole.get(name, [])
        kept = [_merged(record, fresh.pop(_identity(record), record)) for record in held]
        found[name] = kept + list(fresh.values())
    return found
