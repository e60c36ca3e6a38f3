"""The docstrings: every example in them runs, and every public name explains itself."""

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import inox
from tests.conftest import is_missing_peer

PUBLIC_MODULES = [
    "inox.calibration",
    "inox.folding",
    "inox.functional",
    "inox.interop.equinox",
    "inox.interop.flax_linen",
    "inox.interop.flax_nnx",
    "inox.interop.haiku",
    "inox.interop.keras",
    "inox.interop.torch",
    "inox.nn",
    "inox.nn.normalization",
    "inox.streaming",
]
MODULES = ["inox", *(info.name for info in pkgutil.walk_packages(inox.__path__, "inox."))]


def public_objects() -> list[Any]:
    """`module.name` of every class and function that the public modules export."""
    cases: dict[int, Any] = {}
    for module_name in PUBLIC_MODULES:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if is_missing_peer(error.name):
                continue
            raise
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.ismodule(value):
                # A name exported twice is one object, and is checked once.
                cases.setdefault(id(value), pytest.param(value, id=f"{module_name}.{name}"))
    return list(cases.values())


def public_methods(owner: type) -> Iterator[tuple[str, Any]]:
    """The methods that a class of ours writes itself and that a user calls.

    `tree_flatten` and its like belong to JAX's protocol for PyTrees, as `__eq__` to Python's.
    """
    for name, member in vars(owner).items():
        # A function of another module is a default value: Linen keeps those in the class.
        written = inspect.isfunction(member) and member.__module__ == owner.__module__
        if written and (name == "__call__" or not name.startswith(("_", "tree_"))):
            yield f"{owner.__name__}.{name}", member


def sections_of(value: Any) -> dict[str, str]:
    """The sections (`Args:`, `Returns:`, ...) of a docstring, each with its text."""
    text = inspect.getdoc(value) or ""
    pieces = re.split(r"^([A-Z][a-z]+):$", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def described_in(section: str) -> set[str]:
    """The names that an `Args:` section describes."""
    lines = re.findall(r"^  (?:  )?([*\w, ]+?)(?: \([^)]*\))?:", section, flags=re.MULTILINE)
    return {name.strip(" *") for line in lines for name in line.split(",")}


def parameters_of(value: Any) -> set[str]:
    if isinstance(value, type) and issubclass(value, str):
        return set()  # built in C, without a signature
    names = inspect.signature(value).parameters
    if isinstance(value, type) and [*names] == ["args", "kwargs"]:  # a metaclass stands before it
        names = inspect.signature(value.__init__).parameters
    return {name for name in names if name != "self" and not name.startswith("_")}


def missing_from(value: Any, name: str, *, example: bool) -> list[str]:
    """What the docstring of a class or function lacks, in words."""
    sections = sections_of(value)
    if not (inspect.getdoc(value) or "").strip():
        return [f"{name} has no docstring"]
    missing: list[str] = []
    described = described_in(sections.get("Args", "") + sections.get("Attributes", ""))
    missing += [
        f"{name}: argument {argument} is not described under Args"
        for argument in sorted(parameters_of(value) - described)
    ]
    if inspect.isfunction(value):
        result = inspect.signature(value).return_annotation
        if result not in (None, "None") and "Returns" not in sections:
            missing.append(f"{name} has no Returns section")
    if example and ">>> " not in sections.get("Example", ""):
        missing.append(f"{name} has no Example section that runs")
    return missing


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    """The examples of a module's docstrings print what they say."""
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
    for test in doctest.DocTestFinder().find(module, name):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_there_are_examples():
    """The test above would pass if doctest found none."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = sum(
        len(test.examples)
        for name in MODULES
        for test in finder.find(importlib.import_module(name), name)
    )
    assert found >= 20


@pytest.mark.parametrize("value", public_objects())
def test_public_names_are_documented(value):
    """What is public has a docstring with its arguments, its result and an example that runs.

    A layer's `__call__` and other methods describe arguments and result; the class has the
    example. What Python or `NamedTuple` adds to a class is not looked at.
    """
    if isinstance(value, type):
        # A tuple of arrays needs no example: the function that returns it shows one.
        missing = missing_from(value, value.__name__, example=not hasattr(value, "_fields"))
        for name, method in public_methods(value):
            missing += missing_from(method, name, example=False)
    else:
        missing = missing_from(value, value.__name__, example=True)
    assert missing == []


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_modules_tell_what_is_public(name):
    """`__all__` is sorted, and each public module explains its concept and shows it running."""
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(module.__all__)
    assert ">>> " in (module.__doc__ or "")


def undocumented_arguments(x: int, y: int) -> int:  # noqa: D417 - the gap the next test finds
    """Adds.

    Args:
        x: A number.

    Returns:
        The sum.
    """
    return x + y


def test_gaps_are_seen():
    """The check tells an argument that isn't described and an example that isn't there."""
    assert missing_from(undocumented_arguments, "f", example=True) == [
        "f: argument y is not described under Args",
        "f has no Example section that runs",
    ]
