"""The part about what happens outside of compiled code: trees, eager calls, tracing, compiling."""

from typing import TYPE_CHECKING, Any

from . import agreement, compiling, tracing, trees
from .cells import SMALL, data
from .timing import round_robin, rounded

if TYPE_CHECKING:
    from .sections import Run

Record = dict[str, Any]

NORMS = 20
COMPILED = (10, 30, 100)
COMPILED_BY = ("ours", "ours_xla", "textbook", "flax", "equinox")
# Seconds: how long a process may compile, and up to where it is worth doing it again.
LIMIT, QUICK_LIMIT, SHORT = 120, 60, 10


def kernels() -> str:
    """Whether the CPU kernels run, and with which instruction set."""
    from inox.__main__ import report

    told = dict(line.split(":", 1) for line in report().splitlines())
    return told["kernels"].strip()


def outside(run: "Run") -> list[Record]:
    """Everything, the least disturbing first: tracing empties the caches of this process."""
    return [*_trees(run), _eager(run), _lowering(run), *_compiling(run)]


def _trees(run: "Run") -> list[Record]:
    """What JAX does with a model at every call, on models of many layers."""
    records = []
    names = [name for name in trees.MODELS if name in run.contestants]
    for kind in ("layer", "batch"):
        models = {name: trees.MODELS[name](kind) for name in names}
        for operation in trees.OPERATIONS:
            run.say(f"{operation} of {trees.LAYERS} {kind} norms")
            found = {name: trees.program(operation, model) for name, model in models.items()}
            seconds = rounded(round_robin(found, run.rounds(40), calls=10))
            told = {"what": operation, "kind": kind, "layers": trees.LAYERS}
            records.append({**told, "seconds": seconds})
    return records


def _eager(run: "Run") -> Record:
    """One call outside of `jax.jit`."""
    run.say(f"one eager call, {SMALL.title}")
    exact = agreement.exact(SMALL, data(SMALL))[:1]
    found = {name: tracing.eager(name) for name in ("textbook", "ours", "ours_xla")}
    for name, program in found.items():
        if wrong := agreement.compare(SMALL, exact, program.results()).wrong:
            raise RuntimeError(f"{SMALL.title}: {name}: {wrong}")
    seconds = rounded(round_robin(found, run.rounds(40), calls=50))
    return {"what": "eager", "cell": SMALL.record(), "kernels": kernels(), "seconds": seconds}


def _lowering(run: "Run") -> Record:
    """From a function to a lowered program."""
    run.say(f"trace and lower {NORMS} norms")
    found = {name: tracing.Lowering(name, NORMS) for name in ("textbook", "ours", "ours_xla")}
    seconds = rounded(round_robin(found, run.rounds(30), warm=False))
    told = {"cell": SMALL.record(), "norms": NORMS, "kernels": kernels()}
    return {"what": "lower", **told, "seconds": seconds}


def _compiling(run: "Run") -> list[Record]:
    """From a function to a compiled program; who takes longer than the limit tries no more."""
    names = ("ours", "textbook", "flax") if run.quick else COMPILED_BY
    names = [name for name in names if name == "textbook" or name in run.contestants]
    limit = QUICK_LIMIT if run.quick else LIMIT
    records: list[Record] = []
    over: set[str] = set()
    for norms in (NORMS,) if run.quick else COMPILED:
        seconds: dict[str, list[float]] = {}
        reached: list[str] = []
        for turn in range(1 if run.quick else 3):
            for name in names:
                if name in over or (turn and min(seconds[name]) > SHORT):
                    continue
                run.say(f"compile {norms} norms, {name}")
                found = compiling.compile_seconds(name, norms, limit)
                if found is None:
                    over.add(name)
                    reached.append(name)
                else:
                    seconds.setdefault(name, []).append(float(f"{found:.4g}"))
        told = {"what": "compile", "cell": SMALL.record(), "norms": norms, "limit": limit}
        records.append({**told, "over": reached, "kernels": kernels(), "seconds": seconds})
    return records
