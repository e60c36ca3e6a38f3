"""One file of a framework's tests, run in a process of its own; several at a time."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import jax

from conformance import building, sources
from conformance.suites import FLAX, Suite

ROOT = Path(__file__).parents[1]
# A file of tests that is not done by then hangs.
SECONDS = 1200
QUICKLY = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):  # later ones have no other generators of code (0.12)
    QUICKLY += " --xla_cpu_use_fusion_emitters=false"


@dataclass(frozen=True)
class Job:
    """A file of tests, and how pytest is to run it."""

    suite: Suite
    file: str
    chosen: str
    folder: Path
    configuration: Path
    root: Path


def jobs(suites: list[Suite]) -> list[Job]:
    """What there is to run, in the order of the suites."""
    found = []
    for suite in suites:
        if suite.source == FLAX:
            # With the configuration of Flax' own tests, in which warnings are errors.
            folder = root = sources.flax_tests()
            configuration = folder / "pyproject.toml"
        else:
            folder = sources.package_folder(suite.source)
            root = folder.parent
            configuration = sources.CACHE / "pytest.ini"
            configuration.parent.mkdir(parents=True, exist_ok=True)
            configuration.write_text("[pytest]\n")
        found += [Job(suite, file, k, folder, configuration, root) for file, k in suite.files]
    return found


def run(job: Job, classes: str, chosen: Sequence[str]) -> dict[str, dict]:
    """Run a file of tests.

    Args:
        job: The file.
        classes: Whose classes are built: "ours" or "framework".
        chosen: The tests of it to run, by the names that pytest gives them; all if there is none.

    Returns:
        For each test how it ended, what it built, and its error.
    """
    record = sources.CACHE / "records" / f"{job.suite.name}-{job.file.replace('/', '-')}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-p", "conformance.plugin"]
    command += ["-p", "no:cacheprovider", "--quiet", "--tb=short"]
    command += ["-c", str(job.configuration), "--rootdir", str(job.root), "-k", job.chosen]
    command += ["--frameworks", ",".join(job.suite.frameworks), "--classes", classes]
    command += ["--record", str(record)]
    command += [str(job.root / test) for test in chosen] or [str(job.folder / job.file)]
    try:
        finished = subprocess.run(
            command,
            env=environment(job.suite.devices),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        said = finished.stdout[-4000:] + finished.stderr[-4000:]
    except subprocess.TimeoutExpired:
        said = f"not done after {SECONDS} seconds"
    if not record.is_file():
        return {job.file: {"outcome": "failed", "built": {}, "message": said, "details": said}}
    return json.loads(record.read_text())


def environment(devices: int) -> dict[str, str]:
    """The environment of the tests: our folder importable, no plugins of pytest but ours.

    The tests' tolerances are those of a CPU. What they say of a class doesn't depend on how hard
    XLA works on their programs, most of which are run once.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    changed = {
        "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": "jax",
        "KERAS_HOME": str(sources.CACHE / "keras"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICKLY}",
    }
    dropped = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
    return {k: v for k, v in os.environ.items() if k not in dropped} | changed


def run_all(todo: list[Job], options: Namespace) -> Iterator[tuple[Job, dict[str, dict]]]:
    """Run files of tests, several at a time; each is given back when it is done."""

    def chosen(job: Job) -> list[str]:
        return building.known(job.suite.name, job.file) if options.building else []

    with ThreadPoolExecutor(options.n) as pool:
        running = {pool.submit(run, job, options.classes, chosen(job)): job for job in todo}
        for done in as_completed(running):
            yield running[done], done.result()
