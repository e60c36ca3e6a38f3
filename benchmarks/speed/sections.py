"""The parts of a run. Each gives records for the file of results, with seconds of every round."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import agreement, programs
from .cells import DTYPES, GRID, GROWTH, PASSES, PLAIN, SAVED, SMALL, Cell, Data, data, is_quick
from .chains import chains, identity, neighbours
from .contestants import CONTESTANTS, Contestant
from .frameworks import frameworks
from .imports import import_seconds
from .networks import NETWORKS, Training
from .outside import outside
from .residual import residual
from .saved import saved_bytes
from .timing import round_robin, rounded
from .weights_and_streams import streams, weights
from .worker import Process

Record = dict[str, Any]


@dataclass
class Run:
    """What the parts have in common."""

    platform: str
    quick: bool
    contestants: dict[str, Contestant]
    kinds: set[str]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def queued(self) -> bool:
        """Whether calls are queued on a device."""
        return self.platform == "gpu"

    @property
    def calls(self) -> int:
        """Calls in a row for one figure of a large array."""
        return 20 if self.queued else 1

    @property
    def factor(self) -> int:
        """How many times larger arrays are on a device, whose cache would hold those of the grid.

        Starting a call, too, takes longer there than reading one of them.
        """
        return 16 if self.queued else 1

    def rounds(self, full: int) -> int:
        """How many rounds, a fraction of them in a short run."""
        return max(3, full // 5) if self.quick else full

    def say(self, line: str) -> None:
        """One line of what is going on."""
        print(line, file=sys.stderr, flush=True)

    def chosen(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells of the kinds asked for."""
        return [
            cell for cell in cells if cell.kind in self.kinds and (not self.quick or is_quick(cell))
        ]

    def programs(self, cell: Cell, which: str, drawn: Data) -> dict[str, Any]:
        """The floor, and the program of everybody who offers the norm."""
        found: dict[str, Any] = {"floor": programs.floor(drawn, which, self.queued)}
        for name, contestant in self.contestants.items():
            if contestant.own_process:
                program = self.processes[name].program(cell, which)
            else:
                program = programs.of_contestant(contestant, cell, which, drawn, self.queued)
            if program is not None:
                found[name] = program
        return found


def _checked(
    cell: Cell, found: dict[str, Any], exact: list[Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """What is wrong and what is inexact with whom; who is wrong is not timed."""
    wrong, inexact = {}, {}
    for name in [name for name in found if name != "floor"]:
        agreed = agreement.compare(cell, exact, found[name].results())
        problem = agreed.wrong or agreed.inexact
        if problem and name.startswith("ours"):
            raise RuntimeError(f"{cell.title}, {cell.dtype}: {CONTESTANTS[name].label}: {problem}")
        if agreed.wrong:
            wrong[name] = agreed.wrong
            del found[name]
        elif agreed.inexact:
            inexact[name] = agreed.inexact
    return wrong, inexact


def _cells(run: Run, cells: list[Cell], rounds: int) -> list[Record]:
    records = []
    for cell in cells:
        drawn = data(cell)
        exact = agreement.exact(cell, drawn)
        for which in PASSES:
            run.say(f"{cell.title}, {cell.dtype}, {which}")
            found = run.programs(cell, which, drawn)
            wrong, inexact = _checked(cell, found, exact)
            timed = cell.larger(run.factor)
            if run.factor > 1:  # checked at one size, timed at another
                del found
                found = run.programs(timed, which, drawn.repeated(run.factor))
                found = {name: program for name, program in found.items() if name not in wrong}
            seconds = rounded(round_robin(found, run.rounds(rounds), run.calls))
            told = {"wrong": wrong, "inexact": inexact}
            records.append({"cell": timed.record(), "pass": which, "seconds": seconds, **told})
    return records


def grid(run: Run) -> list[Record]:
    """Every norm, shape and dtype, with scale and bias."""
    return _cells(run, run.chosen(GRID), 16)


def plain(run: Run) -> list[Record]:
    """The same without scale and bias, for the library that has none."""
    return _cells(run, run.chosen(PLAIN), 16)


def dispatch(run: Run) -> list[Record]:
    """One small layer norm, where what counts is how a call is made."""
    drawn = data(SMALL)
    calls = 200
    found = run.programs(SMALL, "forward", drawn)
    without = Cell(SMALL.kind, SMALL.shape, SMALL.dtype, affine=False)
    for name in ("ours", "ours_xla"):
        program = programs.of_contestant(
            CONTESTANTS[name], without, "forward", data(without), run.queued
        )
        found[f"{name}, no parameters"] = program
    run.say(f"dispatch of {SMALL.title}")
    return [{"cell": SMALL.record(), "seconds": rounded(round_robin(found, run.rounds(40), calls))}]


def growth(run: Run) -> list[Record]:
    """Layer norm, forward and backward, over numbers of rows and of columns."""
    records = []
    for axis, cells in GROWTH.items():
        for cell in cells[::2] if run.quick else cells:
            run.say(f"growth with {axis}: {cell.title}")
            drawn = data(cell)
            found = run.programs(cell, "both", drawn)
            wanted = ("floor", "ours", "ours_xla", "flax", "torch")
            found = {name: found[name] for name in wanted if name in found}
            # As many calls in a row as make a figure of about a millisecond.
            calls = max(run.calls, min(50, 2**19 // (cell.shape[0] * cell.shape[1])))
            seconds = rounded(round_robin(found, run.rounds(12), calls))
            records.append({"axis": axis, "cell": cell.record(), "seconds": seconds})
    return records


def neighbouring(run: Run) -> list[Record]:
    """Chains of a norm and its neighbours, forward and backward."""
    records = []
    for dtype in DTYPES[:1] if run.quick else DTYPES:
        for chain in chains(dtype)[:: 2 if run.quick else 1]:
            run.say(f"chain {chain.title}, {chain.cell.title}, {dtype}")
            drawn = data(chain.cell).repeated(run.factor)
            chain = chain._replace(cell=chain.cell.larger(run.factor))
            found = {}
            for name in ("none", "ours", "ours_xla", "flax", "torch"):
                contestant = run.contestants.get("ours" if name == "none" else name)
                if contestant is None:
                    continue
                norm = identity if name == "none" else contestant.norm(chain.cell)
                function = chain.build(norm, neighbours(contestant.backend))
                found[name] = _chain_program(run, contestant, chain, function, drawn)
            seconds = rounded(round_robin(found, run.rounds(12), run.calls))
            records.append({"chain": chain.title, "cell": chain.cell.record(), "seconds": seconds})
    return records


def _chain_program(
    run: Run, contestant: Contestant, chain: Any, function: Callable[..., Any], drawn: Data
) -> programs.Program:
    """Both passes of a chain; the residual has the values of g."""
    device = "cuda" if run.queued else "cpu"
    given = (drawn.x, *((drawn.g,) if chain.with_residual else ()), *drawn.parameters)
    operands = programs.arrays(contestant, chain.cell, given, device)
    (g,) = programs.arrays(contestant, chain.cell, (drawn.g,), device)
    cotangent = (g, g) if chain.title.startswith("residual") else g
    make = programs.of_torch if contestant.backend == "torch" else programs.of_jax
    return make(function, operands, cotangent, "both", queued=run.queued)


def networks(run: Run) -> list[Record]:
    """Training steps of whole networks, beside the same without norm."""
    records = []
    for name, network in NETWORKS.items():
        run.say(f"network: {network.title}")
        entrants = {"none": lambda cell: identity}
        for other in ("ours", "flax") if run.quick else ("ours", "ours_xla", "flax"):
            if other in run.contestants:
                entrants[other] = run.contestants[other].norm
        found = {entrant: Training(network, make) for entrant, make in entrants.items()}
        losses = {entrant: training.step() for entrant, training in found.items()}
        for entrant, loss in losses.items():
            if entrant != "none" and abs(loss - losses["ours"]) > 1e-4 * abs(losses["ours"]):
                raise RuntimeError(f"{network.title}: {entrant} has loss {loss}, not {losses}")
        rounds = 15 if name == "transformer" else 40
        seconds = rounded(round_robin(found, run.rounds(rounds), warm=False))
        cpu = rounded({entrant: training.cpu_seconds for entrant, training in found.items()})
        records.append({"network": name, "seconds": seconds, "cpu_seconds": cpu})
    return records


def saved(run: Run) -> list[Record]:
    """Bytes that are kept for the backward pass."""
    records = []
    for cell in SAVED:
        if cell.kind not in run.kinds or (run.quick and cell.dtype != "bfloat16"):
            continue
        drawn = data(cell)
        found = {
            name: saved_bytes(contestant, cell, drawn)
            for name, contestant in run.contestants.items()
            if not contestant.own_process and name != "torch_first"
        }
        held = {name: count for name, count in found.items() if count is not None}
        records.append({"cell": cell.record(), "x": cell.array_bytes, "bytes": held})
    run.say("bytes saved for the backward pass")
    return records


def bandwidth(run: Run) -> list[Record]:
    """x + 1 on 256 MiB, more than any cache holds: what reading and writing costs at most."""
    cell = Cell("layer", (2**16, 2**10), "float32")
    if run.quick:
        return []
    run.say("bandwidth")
    x = np.ones(cell.shape, np.float32)
    found = {"floor": programs.floor(Data(x, x, ()), "forward", run.queued)}
    seconds = rounded(round_robin(found, run.rounds(12), run.calls))
    return [{"cell": cell.record(), "bytes": 2 * cell.array_bytes, "seconds": seconds}]


def importing(run: Run) -> list[Record]:
    """How long the import takes."""
    run.say("import")
    return [{"seconds": [float(f"{s:.4g}") for s in import_seconds(run.rounds(16))]}]


SECTIONS = {
    "grid": grid,
    "plain": plain,
    "dispatch": dispatch,
    "residual": residual,
    "weights": weights,
    "streams": streams,
    "chains": neighbouring,
    "networks": networks,
    "frameworks": frameworks,
    "growth": growth,
    "saved": saved,
    "outside": outside,
    "import": importing,
    "bandwidth": bandwidth,
}
