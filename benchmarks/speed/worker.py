"""A contestant in a process of its own.

It has the import name of this package, or is this package with kernels of another instruction set.
Run as a program, it takes pickled requests (method, arguments) on its standard input and answers
on its standard output; what its libraries print goes to standard error. `Process` is the other end.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import instruction_sets
from .cells import Cell, data
from .contestants import CONTESTANTS
from .environment import REFERENCE_VARIABLE, ROOT


class Process:
    """Runs the programs of one contestant elsewhere; this process waits meanwhile."""

    def __init__(self, contestant: str) -> None:
        if lower := CONTESTANTS[contestant].instruction_set:
            environment = {**os.environ, instruction_sets.VARIABLE: lower}
        else:
            # The folder comes before an installed copy of this package in the search for imports.
            folder = Path(os.environ[REFERENCE_VARIABLE]).resolve()
            environment = {**os.environ, "PYTHONPATH": str(folder)}
        self._name = contestant
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.worker", contestant],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.version: str = self.ask("version")

    def ask(self, method: str, *arguments: Any) -> Any:
        """The answer of the other process."""
        pickle.dump((method, arguments), self._process.stdin)
        self._process.stdin.flush()
        try:
            return pickle.load(self._process.stdout)
        except EOFError:
            raise RuntimeError(
                f"the process that runs {CONTESTANTS[self._name].label} ended; what went wrong "
                "stands above, in its own words"
            ) from None

    def program(self, cell: Cell, which: str) -> "RemoteProgram | None":
        """The program of a cell, if the contestant offers it."""
        return RemoteProgram(self) if self.ask("prepare", cell, which) else None

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


class RemoteProgram:
    """The one program that the other process holds."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def seconds(self, calls: int = 1) -> float:
        """Measured over there."""
        return self._process.ask("seconds", calls)

    def results(self) -> list[Any]:
        """The results of a call."""
        return self._process.ask("results")


class Server:
    """What runs over there."""

    def __init__(self, contestant: str) -> None:
        self._contestant = CONTESTANTS[contestant]
        self._program: Any = None

    def version(self) -> str:
        """The version of the library, found where it was asked for; its instruction set."""
        if lower := self._contestant.instruction_set:
            if (found := instruction_sets.in_use()) != lower:
                raise RuntimeError(f"{instruction_sets.VARIABLE}={lower}, but in use is {found}")
            return lower
        import importlib
        import importlib.metadata

        folder = Path(os.environ["PYTHONPATH"])
        module = importlib.import_module(self._contestant.requires)
        if not Path(str(module.__file__)).resolve().is_relative_to(folder):
            raise ImportError(
                f"{REFERENCE_VARIABLE} must name the folder that holds the other "
                f"{self._contestant.requires}; found {module.__file__} in place of one in {folder}"
            )
        return importlib.metadata.version(self._contestant.requires)

    def prepare(self, cell: Cell, which: str) -> bool:
        """Makes the program of a cell."""
        from .programs import of_contestant

        self._program = None  # its buffers are free before the next one takes some
        self._program = of_contestant(self._contestant, cell, which, data(cell), queued=False)
        return self._program is not None

    def seconds(self, calls: int) -> float:
        """The time of a call."""
        return self._program.seconds(calls)

    def results(self) -> list[Any]:
        """The results of a call."""
        return self._program.results()


def serve() -> None:
    """Answers until the other end closes."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server = Server(sys.argv[1])
    while True:
        try:
            method, arguments = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(getattr(server, method)(*arguments), answers)
        answers.flush()


if __name__ == "__main__":
    serve()
