"""The shape of the package: imports go one way, and each file is small enough to read.

Parameters and state (`nn`) build on formulas (`functional`), which build on speed (`kernels`),
never the other way round. The sources are read with `ast`, so that an import inside a function
counts as well.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "inox"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A layer imports from itself and from the layers before it.
LAYERS = ["kernels", "functional", "nn"]
# The one file that may reach behind JAX's documented interface, or to parts of it that change.
INTERNALS = PACKAGE / "kernels" / "jax_internals.py"
UNSTABLE = ("jax._src", "jax.experimental", "jax.extend", "jax.interpreters")
# jax is the one dependency; numpy is one of jax's own.
DEPENDENCIES = {"jax", "numpy"}
# What is there for a framework imports it; nothing else does, and nothing else imports that.
ADAPTERS = PACKAGE / "interop"
FRAMEWORKS = {"equinox", "flax", "haiku"}
# Everything that is read: sources, tests, what measures, examples.
FOLDERS = ("src", "tests", "benchmarks", "conformance", "examples", "docs")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LONGEST_FILE = 300


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> list[str]:
    """The dotted name of a source file, in parts."""
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports_of(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """The line and absolute dotted name of everything a file imports."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                # `from a import b` reaches a.b, be b a module or a name inside a.
                yield node.lineno, ".".join([*base, alias.name])


def layer_of(module: str) -> str | None:
    """The layer a module of the package belongs to; None for others and for `inox` itself."""
    match module.split("."):
        case ["inox", layer, *_] if layer in LAYERS:
            return layer
    return None


# Standard library alone, and asked before any layer is there.
BELOW_ALL = "inox.installed_once"


def upward_imports(path: Path, source: str) -> list[str]:
    """The imports of a file that go against the order of the layers."""
    here = layer_of(".".join(module_of(path)))
    if here is None:  # what stands above the layers may use them all
        return []
    allowed = LAYERS[: LAYERS.index(here) + 1]
    return [
        f"line {line}: {here} must not import {imported}"
        for line, imported in imports_of(path, source)
        if imported.split(".")[0] == "inox" and layer_of(imported) not in allowed
        if not imported.startswith(f"{BELOW_ALL}.")
    ]


def test_sources_are_found():
    """The tests below would pass on an empty list."""
    assert {layer_of(".".join(module_of(path))) for path in SOURCES} >= set(LAYERS)
    assert INTERNALS in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_one_way(path):
    """`nn` imports `functional`, `functional` imports `kernels`, and nothing the other way."""
    assert upward_imports(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("place", "source", "reached"),
    [
        ("kernels/a.py", "from ..functional import moments", "inox.functional.moments"),
        ("kernels/a.py", "from .. import nn", "inox.nn"),
        ("functional/a.py", "def f():\n    import inox.nn.module", "inox.nn.module"),
        ("functional/a.py", "from inox.nn import BatchNorm", "inox.nn.BatchNorm"),
        ("functional/b/c.py", "from ...nn.module import Module", "inox.nn.module.Module"),
        ("functional/__init__.py", "from ..nn import Module", "inox.nn.Module"),
        ("nn/a.py", "from inox import calibration", "inox.calibration"),
    ],
)
def test_upward_imports_are_seen(place, source, reached):
    """Every way to write an upward import is caught: relative, absolute, inside a function."""
    (found,) = upward_imports(PACKAGE / place, source)
    assert found.endswith(f"must not import {reached}")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_internals_of_jax_stay_in_one_file(path):
    """A new release of JAX can break one file, whose docstring says what is used and why."""
    reached = [
        f"line {line}: {imported}"
        for line, imported in imports_of(path, path.read_text(encoding="utf-8"))
        if f"{imported}.".startswith(tuple(f"{name}." for name in UNSTABLE))
    ]
    assert path == INTERNALS or reached == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_dependency_but_jax(path):
    """Nothing but the standard library, jax and numpy is imported, not even inside a function."""
    allowed = DEPENDENCIES | sys.stdlib_module_names | {"inox"}
    if ADAPTERS in path.parents:
        allowed |= FRAMEWORKS
    tops = {top.split(".")[0] for _, top in imports_of(path, path.read_text(encoding="utf-8"))}
    assert tops <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_imports_the_adapters(path):
    """Who needs no framework never meets one: `inox.interop` is imported by its users alone.

    `inox` itself names it for type checkers, and loads it when it is asked for.
    """
    reached = [
        f"line {line}: {imported}"
        for line, imported in imports_of(path, path.read_text(encoding="utf-8"))
        if f"{imported}.".startswith("inox.interop.")
    ]
    own = path == PACKAGE / "__init__.py" or ADAPTERS in path.parents
    assert own or reached == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_imports_the_check(path):
    """`inox.check` stands above all the rest: the command line alone loads it."""
    reached = [
        f"line {line}: {imported}"
        for line, imported in imports_of(path, path.read_text(encoding="utf-8"))
        if f"{imported}.".startswith("inox.check.")
    ]
    own = path == PACKAGE / "__main__.py" or PACKAGE / "check" in path.parents
    assert own or reached == []


def test_importing_loads_no_other_library():
    """A process that imports the whole package has loaded none of the peers or test tools."""
    peers = ["equinox", "flax", "haiku", "keras", "optax", "orbax", "torch", "sklearn"]
    peers += ["matplotlib", "tqdm"]  # loaded where they are used
    program = (
        "import sys, inox, inox.nn, inox.nn.normalization, inox.functional, "
        "inox.calibration, inox.folding, inox.streaming\n"
        f"print([name for name in {[*peers, 'inox.interop', 'inox.check']} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert any(find_spec(name) for name in peers), "no peer is installed: this test shows nothing"


def test_files_are_small():
    """A file has one purpose, and is read in one go."""
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert set(map(name_of, SOURCES)) < set(lines)
    assert {name: length for name, length in lines.items() if length > LONGEST_FILE} == {}
