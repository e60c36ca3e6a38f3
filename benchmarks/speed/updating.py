"""Parts measured again, in a file of results whose other parts stay."""

from pathlib import Path
from typing import Any

from .environment import place
from .page import RESULTS, load

Results = dict[str, Any]


def newest(wanted: str, folder: Path = RESULTS) -> Path:
    """The newest file of results of a kind of machine."""
    found = [
        (results["date"], path)
        for path in folder.glob("*.json")
        if place((results := load(path))["machine"]) == wanted
    ]
    if not found:
        raise SystemExit(
            f"--update: no file of {folder} was measured on {wanted}. Measure everything "
            "first, with make bench."
        )
    return max(found)[1]


def updated(whole: Results, again: Results) -> Results:
    """The results with the parts measured again, and when and with what that was."""
    told = {key: again[key] for key in ("date", "machine", "versions")}
    return {
        **whole,
        "sections": {**whole["sections"], **again["sections"]},
        "updated": {**whole.get("updated", {}), **dict.fromkeys(again["sections"], told)},
    }
