"""Starting the processes of a run together, and ending them together.

A process that waits for one that is gone waits long: JAX takes it for slow until its heartbeat has
been missing for 100 seconds. So whoever starts the processes watches them.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TRAIN = Path(__file__).with_name("train.py")
GRACE = 5  # seconds from asking a process to end to ending it
LINES = 15  # of the log of a process that failed


class RunError(Exception):
    """A process failed, or took too long."""


def free_port() -> int:
    """A port of the loopback interface that no one listens at.

    Another program may take it before process 0 does. Then that process fails and says so.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def interruption_deferred() -> Iterator[None]:
    """Lets Ctrl-C and a request to end wait until the block is over.

    One that came between the start of a process and the note of it would leave it running.
    """
    received: list[int] = []
    kinds = signal.SIGINT, signal.SIGTERM
    previous = [signal.signal(kind, lambda number, _: received.append(number)) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, previous, strict=True):
            signal.signal(kind, handler)
    if received:
        raise KeyboardInterrupt


def run(arguments: list[list[str]], out: Path, timeout: float) -> None:
    """Runs `train.py` once for each list of arguments, all at the same time.

    The first one's output is shown; all others' output, and all errors, go to `process-I.log`.

    Args:
        arguments: Those of each process.
        out: The folder for what the processes write, `process-I.npz`.
        timeout: The seconds that they may take.

    Raises:
        RunError: If one of them fails or the time is over. All are ended by then.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("process-*"):  # of an earlier run, perhaps of more processes
        old.unlink()
    # Several processes on one GPU would take each other's memory, so these run on the CPU.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
    started: list[subprocess.Popen[bytes]] = []
    try:
        with interruption_deferred():
            for index, own in enumerate(arguments):
                with (out / f"process-{index}.log").open("wb") as log:
                    started.append(
                        subprocess.Popen(
                            [sys.executable, str(TRAIN), *own, "--out", str(out)],
                            env=environment,
                            stdin=subprocess.DEVNULL,
                            stdout=None if index == 0 else log,
                            stderr=log,
                        )
                    )
        _wait(started, out, timeout)
    finally:
        with interruption_deferred():
            _end(started)


def _wait(started: list[subprocess.Popen[bytes]], out: Path, timeout: float) -> None:
    """Waits for all to succeed."""
    deadline = time.monotonic() + timeout
    while True:
        found = [process.poll() for process in started]
        for index, status in enumerate(found):
            if status not in (None, 0):
                raise RunError(_report(index, status, out))
        if all(status == 0 for status in found):
            return
        if time.monotonic() > deadline:
            waiting = ", ".join(str(i) for i, status in enumerate(found) if status is None)
            raise RunError(
                f"not finished after {timeout:g} seconds: process {waiting}; all were ended. "
                f"Logs are in {out}; --timeout gives more time."
            )
        time.sleep(0.05)


def _report(index: int, status: int, out: Path) -> str:
    path = out / f"process-{index}.log"
    log = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    how = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
    last = "\n  ".join(log[-LINES:]) or "(nothing)"
    return f"process {index} {how}; the others were ended. The end of {path}:\n  {last}"


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    """Ends those that still run, first by asking."""
    for process in started:
        if process.poll() is None:
            process.terminate()
    for process in started:
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
