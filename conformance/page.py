"""`docs/conformance.md`: the tables that a run writes into it."""

import platform
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.markdown_table import markdown_table
from benchmarks.marked_part import with_part
from conformance.outcomes import FAILED, NOT_OURS, PASSED, FileResult
from conformance.reasons import DEFECT, NOT_APPLICABLE
from conformance.suites import SUITES

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
PARTS = {"ours": "our classes", "framework": "the frameworks' classes"}
DISTRIBUTIONS = ("flax", "dm-haiku", "keras", "jax", "numpy")
# As many tests of one reason are named; more are counted.
NAMED = 12
SHOWN = (PASSED, FAILED, DEFECT, NOT_APPLICABLE)


def tables(results: Sequence[FileResult]) -> str:
    """A run as Markdown."""
    return "\n\n".join([summary(results), notes(results), *explanations(results)])


def versions() -> str:
    """What was run, in a line."""
    versions = [f"{name} {version(name)}" for name in DISTRIBUTIONS]
    return f"Python {platform.python_version()}, {', '.join(versions)}."


def notes(results: Sequence[FileResult]) -> str:
    """What there is to know about each suite."""
    ran = {result.suite for result in results}
    return "\n".join(f"- {suite.name}: {suite.note}" for suite in SUITES if suite.name in ran)


def summary(results: Sequence[FileResult]) -> str:
    """A row for each file and the sums."""
    head = ["suite", "file", *SHOWN, "instances built", NOT_OURS]
    rows = []
    totals: Counter[str] = Counter()
    instances = 0
    for result in results:
        counts = result.counts()
        totals += counts
        instances += result.constructions()
        rows.append([result.suite, f"`{result.file}`", *_numbers(counts, result.constructions())])
    rows.append(["all", "", *_numbers(totals, instances)])
    return markdown_table(head, rows, align=[None, None, *["right"] * (len(head) - 2)])


def _numbers(counts: Counter[str], instances: int) -> list[str]:
    return [
        str(n) for n in (*(counts[standing] for standing in SHOWN), instances, counts[NOT_OURS])
    ]


def explanations(results: Sequence[FileResult]) -> list[str]:
    """What does not pass, with the reason; nothing where all of it does."""
    tests: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for result in results:
        for outcome in result.outcomes:
            if outcome.standing in (FAILED, DEFECT, NOT_APPLICABLE):
                key = (outcome.standing, result.suite, outcome.reason)
                tests[key].append(outcome.test.partition("::")[2] or outcome.test)
    if not tests:
        return []
    rows = []
    for (standing, suite, reason), names in sorted(tests.items()):
        named = ", ".join(f"`{name}`" for name in names[:NAMED])
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        rows.append([standing, suite, named + more, _in_a_cell(reason)])
    return [markdown_table(["", "suite", "tests", "reason"], rows)]


def _in_a_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def update(results: Sequence[FileResult], classes: str) -> None:
    """Write a run into the page."""
    PAGE.write_text(
        with_part(PAGE.read_text(), PARTS[classes], f"{versions()}\n\n{tables(results)}")
    )
