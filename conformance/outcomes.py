"""What a run shows: how each test stands, what was built, and whether that is what we know of."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from conformance.reasons import DEFECT, NOT_APPLICABLE, Reason

PASSED = "passed"
FAILED = "failed"
# It passes, and builds none of the classes: it says nothing about them.
NOT_OURS = "builds none of the classes"
STANDINGS = (PASSED, FAILED, DEFECT, NOT_APPLICABLE, NOT_OURS)


@dataclass(frozen=True)
class Outcome:
    """How one test stands."""

    test: str
    standing: str
    built: dict[str, int]
    reason: str = ""
    details: str = ""
    stale: bool = False


@dataclass
class FileResult:
    """What the tests of a file show."""

    suite: str
    file: str
    outcomes: list[Outcome] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """How many tests stand how."""
        return Counter(outcome.standing for outcome in self.outcomes)

    def constructions(self) -> int:
        """How many instances of the classes were built, in the tests that are about them."""
        return sum(sum(outcome.built.values()) for outcome in self.outcomes)


def outcome_of(suite: str, test: str, record: dict, reasons: Sequence[Reason]) -> Outcome:
    """How a test stands.

    Args:
        suite: The suite that it belongs to.
        test: Its name, as pytest gives it.
        record: What the plugin wrote down of it.
        reasons: The known reasons.

    Returns:
        Its standing. A failure is one wherever it is, whether or not a class was built before it.
    """
    built, message = record["built"], record["message"]
    known = next((reason for reason in reasons if reason.is_of(suite, test)), None)
    match record["outcome"]:
        case "passed" if known is not None:
            return Outcome(test, FAILED, built, f"passes, so no longer: {known.text}", stale=True)
        case "passed":
            return Outcome(test, PASSED if built else NOT_OURS, built)
        case "skipped":
            return Outcome(test, NOT_APPLICABLE, built, f"skipped by the test itself: {message}")
        case _ if known is not None:
            return Outcome(test, known.kind, built, known.text)
        case _:
            return Outcome(test, FAILED, built, message, record["details"])


def unmatched(results: Sequence[FileResult], reasons: Sequence[Reason]) -> Iterator[Reason]:
    """The reasons, of suites that were run, whose tests are gone."""
    for reason in reasons:
        ran = [result for result in results if result.suite == reason.suite]
        tests = [outcome.test for result in ran for outcome in result.outcomes]
        if ran and not any(reason.is_of(reason.suite, test) for test in tests):
            yield reason


def complaints(results: Sequence[FileResult], reasons: Sequence[Reason]) -> Iterator[str]:
    """What makes a run fail, each in a paragraph; an error at length where it comes first."""
    told: set[str] = set()
    for result in results:
        for outcome in result.outcomes:
            if outcome.standing == FAILED:
                text = outcome.reason if outcome.reason in told else outcome.details
                told.add(outcome.reason)
                yield f"{result.suite}: {outcome.test}\n{text or outcome.reason}"
        if not result.constructions():
            yield f"{result.suite}: no test of {result.file} built one of the classes"
    for reason in unmatched(results, reasons):
        yield f"{reason.suite}: a reason for *{reason.tests}, and no such test: {reason.text}"
