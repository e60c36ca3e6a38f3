"""Contestants of the speed benchmark: each computes, forward and backward, what it is named for."""

import numpy as np
import pytest

from benchmarks.speed import agreement, instruction_sets, programs
from benchmarks.speed.cells import KINDS, Cell, data
from benchmarks.speed.contestants import CONTESTANTS, available
from benchmarks.speed.saved import saved_bytes
from benchmarks.speed.worker import Process
from tests.conftest import import_peer

# Those of this process; the other distribution called inox can't be imported beside this package.
HERE = {name: c for name, c in CONTESTANTS.items() if not c.own_process}
pytestmark = pytest.mark.usefixtures("standard_promotion")


def small(kind, dtype="float32", affine=True):
    """Groups of 8 channels; odd numbers of everything else."""
    shape = (5, 24) if kind in ("layer", "rms") else (3, 5, 3, 24)
    return Cell(kind, shape, dtype, affine, groups=3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HERE)
def test_contestant_agrees_with_the_formulas(name, kind):
    """y, dx, dscale and dbias, against float64 NumPy."""
    contestant = HERE[name]
    import_peer(contestant.requires)
    cell = small(kind)
    drawn = data(cell)
    program = programs.of_contestant(contestant, cell, "both", drawn, queued=False)
    if program is None:
        assert name == "torch_first", "only PyTorch's second layout leaves norms out"
        return
    results = program.results()
    assert len(results) == 2 + len(drawn.parameters)
    assert agreement.compare(cell, agreement.exact(cell, drawn), results) == (None, None)


def test_kernels_of_lower_instruction_sets_have_processes():
    """Each but the one in use here: it says which it runs, and agrees with the formulas."""
    contestants, _ = available("cpu")
    lower = [name for name, c in contestants.items() if c.instruction_set]
    assert [CONTESTANTS[name].instruction_set for name in lower] == [
        name for name in instruction_sets.available()[::-1] if name != instruction_sets.in_use()
    ]
    cell = small("layer")
    for name in lower:
        process = Process(name)
        try:
            assert process.version == CONTESTANTS[name].instruction_set
            found = process.program(cell, "both").results()
        finally:
            process.close()
        assert agreement.compare(cell, agreement.exact(cell, data(cell)), found) == (None, None)


@pytest.mark.parametrize("kind", ["layer", "batch", "position"])
def test_without_parameters(kind):
    """What the other distribution called inox is compared with: y and dx."""
    cell = small(kind, affine=False)
    drawn = data(cell)
    program = programs.of_contestant(HERE["ours"], cell, "both", drawn, queued=False)
    found = program.results()
    assert agreement.compare(cell, agreement.exact(cell, drawn), found) == (None, None)


@pytest.mark.parametrize("error", [np.nan, 2, 0.01])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_errors_are_told(error, place):
    """By the name of the result; gradients of the parameters may be inexact, y and dx may not."""
    cell = small("layer")
    right = agreement.exact(cell, data(cell))
    changed = [array.copy() for array in right]
    changed[place].flat[3] += error * np.abs(right[place]).max()
    wrong, inexact = agreement.compare(cell, right, changed)
    assert agreement.compare(cell, right, right) == (None, None)
    assert (wrong or inexact).startswith(("y ", "dx ", "dscale ")[place])
    assert (inexact is not None) == (place == 2 and error == 0.01)


def test_saved_bytes_count_each_array_once():
    """Flax's batch norm of float32 keeps x and one array more; ours x alone."""
    import_peer("flax")
    cell = small("batch")
    drawn = data(cell)
    parameters = 20 * cell.channels * 4
    ours, flax = (saved_bytes(HERE[name], cell, drawn) for name in ("ours", "flax"))
    assert cell.array_bytes <= ours <= cell.array_bytes + parameters
    assert 2 * cell.array_bytes <= flax <= 2 * cell.array_bytes + parameters
