"""Two real processes, joined over the loopback interface, train as one process does.

The launcher of `examples/distributed` runs as a user runs it, in an empty folder.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.user_environment import user_environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed"
PATIENCE = 200  # seconds; far more than is needed, so that a hang fails instead of blocking
STEPS = 6
# Two devices add two numbers where one adds them in one sum, so the first gradient differs in its
# last places. Seen over six steps are losses apart by 1e-7, parameters by 2e-6, running statistics
# by 1e-7, relative to the largest number of an array. Statistics of each process's own rows, the
# mistake to be found, put every loss apart by 8e-4 at least, every array of parameters by 3e-3,
# every running statistic by 2e-3.
TOLERANCES = {"losses": 1e-6, "parameters": 1e-5, "state": 1e-5}


def environment() -> dict[str, str]:
    """That of a user, with less of the code generator's work: a third of the time."""
    return user_environment(XLA_FLAGS="--xla_backend_optimization_level=0")


def run(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE / program), *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


def read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    with np.load(path) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("record")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of a short run."""
    folder = tmp_path_factory.mktemp("finished")
    references = ("--references", "one-device", "same-devices")
    result = run(folder, "run.py", "--processes", "2", "--steps", str(STEPS), *references)
    assert result.returncode == 0, result.stderr
    return folder / "out" / "distributed", result.stdout


def test_two_processes_equal_one(finished):
    """Losses, parameters and running statistics are those of one process with one device."""
    folder, _ = finished
    joined, record = read(folder / "joined" / "process-0.npz")
    alone, _ = read(folder / "one-device" / "process-0.npz")
    assert (record["processes"], record["devices"]) == (2, 2)
    assert joined.keys() == alone.keys()
    assert len(joined["losses"]) == STEPS
    assert len([name for name in alone if name.startswith("state/")]) == 8  # of four batch norms
    for name, array in alone.items():
        tolerance = TOLERANCES[name.split("/")[0]] * np.abs(array).max()
        assert np.abs(joined[name] - array).max() <= tolerance, name
    assert alone["losses"][-1] < alone["losses"][0]


def test_two_processes_equal_two_devices_of_one_process(finished):
    """Bit for bit: it is the same program, and a sum of two numbers has no order."""
    folder, _ = finished
    joined, first = read(folder / "joined" / "process-0.npz")
    alone, second = read(folder / "same-devices" / "process-0.npz")
    assert (second["processes"], second["devices"]) == (1, 2)
    assert first["collectives"] == second["collectives"]
    assert first["kernels"] == second["kernels"]
    for name, array in alone.items():
        np.testing.assert_array_equal(joined[name], array, name)


def test_both_processes_hold_the_same(finished):
    """Losses, parameters and running statistics are replicated bit for bit over the processes."""
    folder, output = finished
    first, _ = read(folder / "joined" / "process-0.npz")
    second, _ = read(folder / "joined" / "process-1.npz")
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, name)
    assert "All processes hold the same bits: yes" in output


def test_what_the_training_step_sends(finished):
    """With kernels an all-gather for each of the four batch norms; without them sums alone."""
    folder, _ = finished
    _, record = read(folder / "joined" / "process-0.npz")
    sizes = [one["bytes"] for one in record["collectives"] if one["kind"] == "all-gather"]
    # Three float32 numbers for each channel and device.
    widths = (16, 32, 32, 64) if record["kernels"] else ()
    assert sorted(sizes) == sorted(4 * 3 * 2 * width for width in widths)
    assert {one["kind"] for one in record["collectives"]} <= {"all-gather", "all-reduce"}


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8")
    return [int(number) for number in found.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("victim", ["child", "launcher"])
def test_nothing_is_left_running(tmp_path, victim):
    """When a process dies, or the launcher is told to end, the others are ended, and it is said."""
    launcher = subprocess.Popen(
        [sys.executable, str(EXAMPLE / "run.py"), "--steps", "100000", "--references"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        patience = time.monotonic() + PATIENCE
        while len(children(launcher.pid)) < 2 and time.monotonic() < patience:
            time.sleep(0.05)
        started = children(launcher.pid)
        assert len(started) == 2
        if victim == "child":
            os.kill(started[1], signal.SIGKILL)
    finally:
        if victim == "launcher":
            launcher.terminate()
        _, errors = launcher.communicate(timeout=PATIENCE)
    if victim == "child":
        assert launcher.returncode == 1
        assert "error: process 1 was ended by signal 9; the others were ended" in errors
    else:
        assert launcher.returncode == 130
        assert "All processes were ended" in errors
    assert not any(Path(f"/proc/{process}").exists() for process in started)


def test_a_mistake_of_the_caller_is_one_line(tmp_path):
    """Of a process and through the launcher: what is wrong and where, without a traceback."""
    result = run(tmp_path, "train.py", "--processes", "2")
    assert result.returncode == 2
    assert result.stderr == ("error: argument --processes: several need --coordinator HOST:PORT\n")
    result = run(tmp_path, "run.py", "--steps", "0")
    assert result.returncode == 1
    assert "failed with status 2" in result.stderr
    assert "argument --steps: must be a whole number of at least 1, found '0'" in result.stderr


def test_a_run_that_takes_too_long_is_ended(tmp_path):
    """The time is an option; the processes that were still running are named."""
    result = run(tmp_path, "run.py", "--steps", "100000", "--timeout", "1")
    assert result.returncode == 1
    assert "error: not finished after 1 seconds: process 0, 1; all were ended" in result.stderr
