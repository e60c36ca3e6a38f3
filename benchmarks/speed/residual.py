"""The part about a residual and the norm after it: in one pass, and as a sum and a norm."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import agreement, programs
from .cells import EPSILON, GRID, PASSES, Cell, Data, data
from .chains import neighbours, residual_norm
from .contestants import CONTESTANTS, Contestant
from .timing import round_robin, rounded

if TYPE_CHECKING:
    from .sections import Run

Record = dict[str, Any]

ONE_PASS = "one_pass"
# In half types, as kernels for serving do it: what was rounded for the residual stream is
# normalized, and kept alone for the backward pass. In float32 it is the same program.
OF_ROUNDED = "one_pass_of_rounded"
CELLS = tuple(cell for cell in GRID if cell.kind in ("layer", "rms") and len(cell.shape) == 2)


def residual(run: "Run") -> list[Record]:
    """Rows of layer and RMS norm: ours in one pass, and everybody's norm of a sum."""
    records = []
    for cell in run.chosen(CELLS):
        drawn = data(cell)
        timed, large = cell.larger(run.factor), drawn.repeated(run.factor)
        for which in PASSES:
            run.say(f"residual + {cell.title}, {cell.dtype}, {which}")
            found, wrong, inexact = {}, {}, {}
            for name, contestant in entrants(run.contestants, cell).items():
                told = checked(name, contestant, cell, which, drawn)
                if told.wrong:
                    wrong[name] = told.wrong
                else:
                    if told.inexact:
                        inexact[name] = told.inexact
                    found[name] = program(name, contestant, timed, which, large, run.queued)
            seconds = rounded(round_robin(found, run.rounds(16), run.calls))
            problems = {"wrong": wrong, "inexact": inexact}
            records.append({"cell": timed.record(), "pass": which, "seconds": seconds, **problems})
    return records


def entrants(contestants: dict[str, Contestant], cell: Cell) -> dict[str, Contestant]:
    """Ours in one pass first, then everybody in this process who offers the norm."""
    offered = {
        name: contestant
        for name, contestant in contestants.items()
        if not contestant.own_process and contestant.norm(cell)
    }
    names = (ONE_PASS,) if cell.dtype == "float32" else (ONE_PASS, OF_ROUNDED)
    return dict.fromkeys(names, CONTESTANTS["ours"]) | offered


def in_one_pass(cell: Cell, of_rounded: bool) -> Callable[..., Any]:
    """The sum and its norm, in the order of `residual_norm`."""
    from inox import functional

    add_norm = functional.add_rms_norm if cell.kind == "rms" else functional.add_layer_norm

    def chain(x: Any, residual: Any, *parameters: Any) -> Any:
        y, r = add_norm(x, residual, *parameters, epsilon=EPSILON, normalize_rounded=of_rounded)
        return r, y

    return chain


def program(
    name: str, contestant: Contestant, cell: Cell, which: str, drawn: Data, queued: bool
) -> programs.Program:
    """The sum and its norm; the residual, and what both send back, have the values of g."""
    device = "cuda" if queued else "cpu"
    given = (drawn.x, drawn.g, *drawn.parameters)
    operands = programs.arrays(contestant, cell, given, device)
    if name in (ONE_PASS, OF_ROUNDED):
        function = in_one_pass(cell, name == OF_ROUNDED)
    else:
        function = residual_norm(contestant.norm(cell), neighbours(contestant.backend))
    make = programs.of_torch if contestant.backend == "torch" else programs.of_jax
    return make(function, operands, (operands[1], operands[1]), which, queued=queued)


def checked(
    name: str, contestant: Contestant, cell: Cell, which: str, drawn: Data
) -> agreement.Agreement:
    """y and the gradients beside the formulas in float64; ours must agree."""
    x, g = drawn.x.astype(np.float64), drawn.g.astype(np.float64)
    y, dx, *parameters = agreement.exact(cell, Data(x + g, drawn.g, drawn.parameters))
    found = program(name, contestant, cell, which, drawn, queued=False).results()
    # The sum, y, and the gradients of x, of the residual and of the parameters.
    given = [found[1], *found[2:3], *found[4:]]
    told = agreement.compare(cell, [y, dx + g, *parameters], given)
    if told.wrong and contestant is CONTESTANTS["ours"]:
        raise RuntimeError(f"residual + {cell.title}, {cell.dtype}: {name}: {told.wrong}")
    return told
