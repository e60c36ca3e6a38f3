"""The part about models of other frameworks, before and after the import of norms is changed."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .framework_models import MODELS, Entry, Steps
from .outside import kernels
from .programs import Program
from .timing import round_robin, rounded
from .tracing import forget

if TYPE_CHECKING:
    from .sections import Run

Record = dict[str, Any]
WHOSE = ("theirs", "ours")
# Between two programs of one function, trained or not, rounded differently: of the largest value.
AGREEMENT = 1e-3


class Running:
    """A compiled step that is called again and again, and carries its results where it trains."""

    def __init__(self, steps: Steps, trains: bool) -> None:
        self._carried = jax.tree.map(lambda leaf: leaf.copy(), steps.carried)
        self._batch = jax.device_put(steps.batch)
        self._trains = trains
        self._step: Callable[..., Any] = (
            jax.jit(steps.train, donate_argnums=0) if trains else jax.jit(steps.evaluate)
        )
        self.cpu_seconds: list[float] = []

    def step(self) -> Any:
        """The loss before a step of training, or the output in evaluation."""
        if not self._trains:
            return jax.block_until_ready(self._step(self._carried, self._batch[0]))
        self._carried, loss = self._step(self._carried, *self._batch)
        return jax.block_until_ready((self._carried, loss))[1]

    def seconds(self, calls: int = 1) -> float:
        """Wall time of a step; the time of all cores is kept in `cpu_seconds`."""
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self.step()
        self.cpu_seconds.append((time.process_time() - cpu_start) / calls)
        return (time.perf_counter() - start) / calls


class Making:
    """From the function of a training step to its program, in two parts with a clock each."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.compile_seconds: list[float] = []

    def seconds(self, calls: int = 1) -> float:
        """Tracing and lowering, in time of the thread; time to compile is kept beside."""
        for _ in range(calls):
            forget()
            start = time.thread_time()
            step = jax.jit(lambda *given: self._steps.train(*given))
            lowered = step.trace(self._steps.carried, *self._steps.batch).lower()
            seconds = time.thread_time() - start
            start = time.process_time()
            lowered.compile()
            self.compile_seconds.append(time.process_time() - start)
        return seconds


def frameworks(run: "Run") -> list[Record]:
    """Each model: a step of training and of evaluation, then what its making takes."""
    records = []
    for name, entry in MODELS.items():
        if not entry.available():
            run.say(f"{entry.title} is left out: {entry.framework} is not installed")
            continue
        run.say(f"inside frameworks: {entry.title}")
        records += _of_model(run, name, entry)
    return records


def _of_model(run: "Run", name: str, entry: Entry) -> list[Record]:
    steps = {whose: entry.make(whose) for whose in WHOSE}
    told = {"model": name, "kernels": kernels()}
    records = []
    for what in ("train", "evaluate"):
        found = {whose: Running(of, what == "train") for whose, of in steps.items()}
        _check(entry, {whose: np.asarray(running.step()) for whose, running in found.items()})
        wall = rounded(round_robin(found, run.rounds(20), warm=False))
        counted = {whose: running.cpu_seconds for whose, running in found.items()}
        seconds = {"seconds": wall, "cpu_seconds": rounded(counted)}
        records.append({**told, "what": what, **seconds})
    calls = {
        whose: Program(of.per_call, wait=lambda _: None, clock=time.thread_time)
        for whose, of in steps.items()
    }
    seconds = rounded(round_robin(calls, run.rounds(40), calls=10))
    records.append({**told, "what": "call", "called": steps["ours"].called, "seconds": seconds})
    making = {whose: Making(of) for whose, of in steps.items()}
    seconds = rounded(round_robin(making, 1 if run.quick else 3, warm=False))
    records.append({**told, "what": "lower", "seconds": seconds})
    seconds = rounded({whose: made.compile_seconds for whose, made in making.items()})
    records.append({**told, "what": "compile", "seconds": seconds})
    return records


def _check(entry: Entry, results: dict[str, np.ndarray]) -> None:
    """Both compute the same model."""
    theirs, ours = (results[whose].astype(np.float64) for whose in WHOSE)
    error = np.abs(theirs - ours).max() / np.abs(theirs).max()
    if not error <= AGREEMENT:
        raise RuntimeError(f"{entry.title}: the two differ by {error:.1e} of the largest value")
