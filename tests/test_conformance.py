"""The logic of the harness that runs the frameworks' tests; `make conformance` runs those."""

import io
import json
import re
import sys
import tarfile
from types import ModuleType

import pytest

from conformance import building, outcomes, page, sources
from conformance.exchange import Constructions, OwnClassBuilt, put_in_place
from conformance.outcomes import FAILED, NOT_OURS, PASSED, FileResult, complaints, outcome_of
from conformance.reasons import DEFECT, NOT_APPLICABLE, REASONS, Reason
from conformance.suites import SUITES

SUITE = {suite.name for suite in SUITES}
KNOWN = Reason("nnx", "::test_far*", DEFECT, "theirs is 0.1 off")


def record(outcome, message="", **built):
    """What the plugin writes down of a test."""
    return {"outcome": outcome, "built": built, "message": message, "details": message}


def standing(test, found, reasons=(KNOWN,)):
    return outcome_of("nnx", f"a_test.py::T::{test}", found, reasons).standing


def test_how_a_test_stands():
    """A test that builds none of the classes does not count as passed; a failure always counts."""
    assert standing("test_near", record("passed", LayerNorm=1)) == PASSED
    assert standing("test_near", record("passed")) == NOT_OURS
    assert standing("test_near", record("failed", "off")) == FAILED
    assert standing("test_near", record("failed", "off", LayerNorm=2)) == FAILED
    assert standing("test_near", record("skipped", "no network")) == NOT_APPLICABLE


def test_a_reason_is_of_its_suite_and_its_tests_alone():
    """The same failure elsewhere is a failure."""
    assert standing("test_far3", record("failed", LayerNorm=1)) == DEFECT
    assert outcome_of("linen", "::test_far3", record("failed"), [KNOWN]).standing == FAILED
    assert standing("test_further", record("failed")) == FAILED


def test_a_reason_whose_test_passes_is_a_failure():
    """Else the list grows old unnoticed."""
    outcome = outcome_of("nnx", "::test_far", record("passed", LayerNorm=1), [KNOWN])
    assert outcome.standing == FAILED
    assert KNOWN.text in outcome.reason


def results(*found):
    done = [outcome_of("nnx", f"::{test}", each, [KNOWN]) for test, each in found]
    return [FileResult("nnx", "a_test.py", done)]


def test_what_makes_a_run_fail():
    """An unknown failure, a reason without a test, and a file that builds none of the classes."""
    near, far = ("test_near", record("passed", LayerNorm=2)), ("test_far", record("failed"))
    assert list(complaints(results(near, far), [KNOWN])) == []
    (gone,) = complaints(results(near), [KNOWN])
    assert "::test_far*" in gone
    other = ("test_other", record("failed", "1 is not 2"))
    (failure,) = complaints(results(near, far, other), [KNOWN])
    assert "test_other" in failure
    assert "1 is not 2" in failure
    (idle,) = complaints(results(("test_near", record("passed"))), [])
    assert "built one of the classes" in idle
    # A reason of a suite that was not run says nothing.
    assert list(complaints(results(near), [Reason("haiku", "x", DEFECT, "text")])) == []


def test_the_page_counts_and_explains():
    """Sums in the last row; a reason once with all its tests, cut short where there are many."""
    found = [
        ("test_near", record("passed", LayerNorm=2, BatchNorm=1)),
        ("test_none", record("passed")),
    ]
    found += [(f"test_far{number}", record("failed", LayerNorm=1)) for number in range(14)]
    text = re.sub(" +", " ", page.tables(results(*found)))
    assert "| nnx | `a_test.py` | 1 | 0 | 14 | 0 | 17 | 1 |" in text
    assert "| all | | 1 | 0 | 14 | 0 | 17 | 1 |" in text
    assert text.count(KNOWN.text) == 1
    assert "`test_far11` and 2 more" in text


def test_tests_that_build_a_class_are_known_for_one_version_alone(monkeypatch, tmp_path):
    """Those that build none are left out; of another version all are run, as of a whole file."""
    monkeypatch.setattr(building, "LIST", tmp_path / "building.json")
    monkeypatch.setattr(building, "version", lambda name: "0.1")
    found = results(
        ("test_near", record("passed", LayerNorm=2)),
        ("test_none", record("passed")),
        ("test_skipped", record("skipped", "no network")),
    )
    assert building.known("nnx", "a_test.py") == []
    building.write(found)
    assert building.known("nnx", "a_test.py") == ["::test_near", "::test_skipped"]
    assert building.known("nnx", "b_test.py") == []
    building.write(results(("test_near", record("passed", LayerNorm=2))))
    assert building.known("nnx", "a_test.py") == []
    building.write(found)
    monkeypatch.setattr(building, "version", lambda name: "0.2")
    assert building.known("nnx", "a_test.py") == []


def test_the_list_of_tests_is_the_one_of_the_page():
    """As many tests as the page counts, file by file."""
    ((_, lists),) = json.loads(building.LIST.read_text()).items()
    rows = page.PAGE.read_text().split("<!-- end of our classes -->")[0].splitlines()
    cells = [[cell.strip() for cell in row.split("|")] for row in rows if row.startswith("| ")]
    counted = {f"{c[1]} {c[2].strip('`')}": sum(map(int, c[3:7])) for c in cells if c[1] in SUITE}
    assert {name: len(tests) for name, tests in lists.items()}.items() <= counted.items()
    assert len(lists) == 14


class Own:
    """A framework's class."""

    def __init__(self, width):
        self.width = width


class Ours:
    """Ours for it."""

    def __init__(self, width):
        self.width = width


class Special(Ours):
    """What a test makes of it."""

    def __init__(self):
        super().__init__(3)


@pytest.fixture
def package():
    """A package of two modules that hold the class under different names, and a neighbour."""
    modules = {name: ModuleType(name) for name in ("pack", "pack.inner", "packaged")}
    modules["pack"].Norm = modules["pack.inner"].Renamed = modules["packaged"].Norm = Own
    sys.modules.update(modules)
    yield modules
    for name in modules:
        del sys.modules[name]


def test_a_class_is_exchanged_wherever_the_package_holds_it(package):
    """Under any name; nothing outside of the package."""
    assert put_in_place(Own, Ours, "pack") == ["pack.Norm", "pack.inner.Renamed"]
    assert package["pack"].Norm is package["pack.inner"].Renamed is Ours
    assert package["packaged"].Norm is Own


def test_a_class_is_exchanged_in_the_classes_of_the_package(package):
    """Haiku's networks look others up in a class of theirs; a neighbour's class is left alone."""
    package["pack"].hk = type("hk", (), {"__module__": "pack", "Norm": Own})
    package["pack"].other = type("other", (), {"__module__": "packaged", "Norm": Own})
    assert "hk.Norm" in put_in_place(Own, Ours, "pack")
    assert package["pack"].hk.Norm is Ours
    assert package["pack"].other.Norm is Own


def test_constructions_are_counted_and_the_own_class_refused(monkeypatch):
    """Subclasses count; the refusal is no `Exception`, so no test takes it for one it expects."""
    for cls in (Own, Ours):
        monkeypatch.setattr(cls, "__init__", cls.__init__)  # put back afterwards
    constructions = Constructions()
    constructions.count(Ours, "Norm", "__init__")
    constructions.forbid(Own, "pack.Norm")
    assert (Ours(2).width, Special().width) == (2, 3)
    with pytest.raises(OwnClassBuilt, match=r"pack\.Norm"):
        Own(2)
    assert constructions.counted == {"Norm": 2}
    assert constructions.forbidden == {"pack.Norm": 1}
    assert not issubclass(OwnClassBuilt, Exception)
    constructions.reset()
    assert not constructions.counted
    assert not constructions.forbidden


def test_only_the_tests_are_unpacked(tmp_path):
    """The package in a source distribution must not stand in for the one that is installed."""
    archive = tmp_path / "flax-1.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        for name in ("flax-1/tests/a/b_test.py", "flax-1/flax/core.py", "flax-1/pyproject.toml"):
            member = tarfile.TarInfo(name)
            member.size = 1
            opened.addfile(member, io.BytesIO(b"#"))
    sources.unpack(archive, tmp_path, ("tests", "pyproject.toml"))
    found = {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert found == {"flax-1.tar.gz", "flax-1/tests/a/b_test.py", "flax-1/pyproject.toml"}


def test_suites_and_reasons_name_each_other():
    """A reason is of a suite that there is, of a kind that there is, and has a text."""
    names = [suite.name for suite in SUITES]
    assert len(set(names)) == len(names)
    for reason in REASONS:
        assert reason.suite in names
        assert reason.kind in (DEFECT, NOT_APPLICABLE)
        assert reason.text
    assert set(outcomes.STANDINGS) > {DEFECT, NOT_APPLICABLE}
