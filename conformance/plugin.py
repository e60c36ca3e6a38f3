"""The plugin of pytest that runs in the process of one file of a framework's tests.

Its options are set by :mod:`.running`. It exchanges the classes before the tests are imported, and
writes down for each test how it ended and what it built.
"""

import json
from pathlib import Path

import pytest

from conformance.classes import FRAMEWORKS
from conformance.exchange import Constructions, prepare

CONSTRUCTIONS = Constructions()
RECORDS: dict[str, dict] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which classes are under test, and where the record goes."""
    group = parser.getgroup("conformance")
    group.addoption("--frameworks", required=True, help="whose classes, with a comma between")
    group.addoption("--classes", choices=("ours", "framework"), required=True)
    group.addoption("--record", required=True, type=Path, help="the file to write")


def pytest_configure(config: pytest.Config) -> None:
    """Exchange the classes; no test is imported yet."""
    for name in config.getoption("--frameworks").split(","):
        prepare(FRAMEWORKS[name], config.getoption("--classes"), CONSTRUCTIONS)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Count for each test alone."""
    CONSTRUCTIONS.reset()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Add what a test built to how it ended."""
    report = (yield).get_result()
    if report.when == "call" and report.passed and CONSTRUCTIONS.forbidden:
        report.outcome = "failed"
        report.longrepr = f"passed, but used {', '.join(CONSTRUCTIONS.forbidden)}"
    if report.when == "call" or not report.passed:
        RECORDS[item.nodeid] = {
            "outcome": report.outcome,
            "built": dict(CONSTRUCTIONS.counted),
            "message": summary_of(report),
            "details": report.longreprtext,
        }


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that can't be imported is a failure, too."""
    if report.failed:
        RECORDS[report.nodeid] = {
            "outcome": "failed",
            "built": {},
            "message": summary_of(report),
            "details": report.longreprtext,
        }


def summary_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The error of a report in a line; empty for what passed."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return crash.message
    if isinstance(report.longrepr, tuple):  # of a test that is skipped: file, line, reason
        return report.longrepr[2].removeprefix("Skipped: ")
    return report.longreprtext


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the record."""
    session.config.getoption("--record").write_text(json.dumps(RECORDS, indent=1))
