"""The command line: `python -m conformance --help`."""

import argparse
import time
from collections.abc import Sequence

from conformance import building
from conformance.outcomes import STANDINGS, FileResult, complaints, outcome_of
from conformance.page import PAGE, tables, update, versions
from conformance.reasons import REASONS
from conformance.running import jobs, run_all
from conformance.suites import SUITES


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    names = [suite.name for suite in SUITES]
    result.add_argument("--only", nargs="+", choices=names, help="run these suites alone")
    result.add_argument(
        "--files", default="", help="run the files alone whose path has this in it, such as resnet"
    )
    result.add_argument(
        "--classes",
        choices=("ours", "framework"),
        default="ours",
        help="whose classes are under test; the framework's own show what there is to pass",
    )
    result.add_argument(
        "--building",
        action="store_true",
        help="leave out what built none of the classes at this version of Flax, by the last run",
    )
    result.add_argument("-n", type=int, default=2, help="files at a time (2)")
    result.add_argument("--update", action="store_true", help=f"write docs/{PAGE.name}")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; 1 if one fails that we have no reason for, or a reason no longer holds."""
    options = parser().parse_args(arguments)
    suites = [suite for suite in SUITES if not options.only or suite.name in options.only]
    todo = [job for job in jobs(suites) if options.files in job.file]
    everything = len(todo) == sum(len(suite.files) for suite in SUITES)
    if options.update and (options.building or not everything):
        print("--update writes the whole page: run it without --only, --files and --building")
        return 2
    reasons = REASONS if options.classes == "ours" else ()
    started = time.monotonic()
    done: dict[tuple[str, str], FileResult] = {}
    for job, records in run_all(todo, options):
        outcomes = [outcome_of(job.suite.name, test, r, reasons) for test, r in records.items()]
        result = FileResult(job.suite.name, job.file, outcomes)
        done[job.suite.name, job.file] = result
        counts = result.counts()
        told = ", ".join(f"{counts[each]} {each}" for each in STANDINGS if counts[each])
        seconds = time.monotonic() - started
        print(f"{seconds:5.0f} s  {job.suite.name:15} {job.file}: {told}", flush=True)
    results = [done[job.suite.name, job.file] for job in todo]
    print(f"\n{versions()}\n\n{tables(results)}")
    if options.update:
        update(results, options.classes)
        building.write(results)
    # A reason may belong to a file that was left out.
    wrong = list(complaints(results, () if options.files else reasons))
    for complaint in wrong:
        print(f"\n---- {complaint}")
    return 1 if wrong else 0
