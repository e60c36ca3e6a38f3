"""The tables of models of other frameworks."""

from typing import Any

from .framework_models import MODELS

WHATS = {"train": "a training step", "evaluate": "a step in evaluation"}
Told = tuple[str, str, list[dict[str, Any]], list[str], str]


def told(records: list[dict[str, Any]]) -> list[Told]:
    """Title, note, records, titles of their rows and the key of their seconds, for each table."""
    if not records:
        return []
    kernels = f"The CPU kernels: {records[0]['kernels']}."
    steps = [record for record in records if record["what"] in WHATS]
    titles = [f"{MODELS[r['model']].title}, {WHATS[r['what']]}" for r in steps]
    note = (
        "The same model from the same seed, with the framework's norms and, the import changed, "
        f"with ours; with Adam. Times the former, {{}}. {kernels}"
    )
    found = [
        (f"Inside frameworks, {clock}", note.format(clock), steps, titles, key)
        for key, clock in (("seconds", "wall time"), ("cpu_seconds", "time of all cores"))
    ]
    rest = [record for record in records if record["what"] not in WHATS]
    made = {"lower": "trace and lower a training step", "compile": "compile it"}
    titles = [f"{MODELS[r['model']].title}, {made.get(r['what']) or r['called']}" for r in rest]
    note = (
        "All caches emptied before a step is traced. Calls and tracing in time of the thread, "
        f"compiling in time of all cores. {kernels}"
    )
    found.append(("Inside frameworks, outside of compiled code", note, rest, titles, "seconds"))
    return found
