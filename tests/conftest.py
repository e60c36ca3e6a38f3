"""What holds for every test: strict JAX settings, eight CPU devices, seeded randomness.

Warnings are errors too; that is set in `pyproject.toml`, with a reason beside each exception.
"""

import os

# These are read when jax, torch or keras start, so they come before the first import of any.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Two tests run at a time on two cores, so a library's own threads would only get in their way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "jax")
# Sharding is tested on eight devices that share the one processor.
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    ).strip()

import ast
import importlib.util
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import jax
import numpy as np
import pytest

from tests import compiling

# A silent promotion (bfloat16 to float32, a vector against a matrix) hides a mistake in a
# library that promises the dtype and shape of every result.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# A result read from a cache on disk wouldn't show what this version of the code compiles to.
jax.config.update("jax_enable_compilation_cache", False)

compiling.install()

# Derandomized: the examples depend on the test's source alone, so a failure is seen again.
# No deadline: the first example of a test compiles, and takes far longer than the others.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

# The libraries that ours is compared with, by the names they are imported by.
PEERS = {"equinox", "expecttest", "flax", "haiku", "keras", "onnx", "torch"}
# `make test` sets this, so that a comparison can't go missing unseen: there a missing library is
# an error. Elsewhere the tests that need it are skipped.
PEERS_REQUIRED = os.environ.get("INOX_REQUIRE_PEERS") == "1"


def is_missing_peer(module: str | None) -> bool:
    """Whether a module belongs to a library that isn't there and may be missing."""
    name = (module or "").split(".")[0]
    return not PEERS_REQUIRED and name in PEERS and importlib.util.find_spec(name) is None


def import_peer(name: str) -> ModuleType:
    """Import a library that ours is compared with, such as `flax.linen`, or skip the test."""
    if is_missing_peer(name):
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return importlib.import_module(name)


def imported_at_the_top(path: Path) -> set[str]:
    """The modules that a file imports when it is itself imported."""
    modules: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    return modules


class NeedsPeer(pytest.Module):
    """Stands for a test module that can't be imported for want of a library."""

    def collect(self) -> Iterator[pytest.Item]:
        """Skip the module, in place of importing it."""
        missing = sorted(filter(is_missing_peer, imported_at_the_top(self.path)))
        pytest.skip(f"{', '.join(missing)} is not installed", allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Skip test modules that import a missing library at their top."""
    if any(map(is_missing_peer, imported_at_the_top(module_path))):
        return NeedsPeer.from_parent(parent, path=module_path)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """XLA works for a test as hard as the test is to say something about it."""
    marks = {mark.name for mark in item.iter_markers()}
    compiling.choose(compiling.wants_quick(item.path, Path(__file__).parent, marks))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Skip tests that import a missing library when they run."""
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if is_missing_peer(error.name):
            pytest.skip(f"{error.name} is not installed")
        raise


@pytest.fixture
def peer() -> Callable[[str], ModuleType]:
    """`import_peer` for a test that needs the library for itself alone."""
    return import_peer


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by the test's name: tests don't share draws, and each repeats its own."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision for the length of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """JAX's usual promotion, for tests that call a library which relies on it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
