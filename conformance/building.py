"""Which tests of the larger files build one of the classes: `building.json`.

Most tests of those files are about other layers, which only their run tells. A run of `--building`
is of the tests that built a class when the page was written, as long as the framework is the one
that was installed then; of another version all tests are run.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from conformance.outcomes import NOT_OURS, FileResult
from conformance.suites import FLAX, SUITES

LIST = Path(__file__).with_name("building.json")


def known(suite: str, file: str) -> list[str]:
    """The tests of a file that build a class, or nothing where that isn't known."""
    lists = json.loads(LIST.read_text()) if LIST.is_file() else {}
    return lists.get(f"flax {version('flax')}", {}).get(f"{suite} {file}", [])


def write(results: Sequence[FileResult]) -> None:
    """Keep those of a run of all tests; a file all of whose tests build one needs no list."""
    of_flax = {suite.name for suite in SUITES if suite.source == FLAX}
    lists = {
        f"{result.suite} {result.file}": [
            outcome.test for outcome in result.outcomes if outcome.standing != NOT_OURS
        ]
        for result in results
        if result.suite in of_flax and result.counts()[NOT_OURS]
    }
    LIST.write_text(json.dumps({f"flax {version('flax')}": lists}, indent=1) + "\n")
