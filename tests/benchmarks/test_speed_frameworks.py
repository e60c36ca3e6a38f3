"""The part of the speed benchmark about models of other frameworks."""

import importlib

import jax
import numpy as np
import pytest

from benchmarks.speed import bars, command, framework_models, frameworks, sections, tables
from benchmarks.speed.framework_models import MODELS, Steps
from tests.conftest import import_peer

pytestmark = [
    pytest.mark.usefixtures("standard_promotion"),
    pytest.mark.compiled_quickly,
]


@pytest.mark.parametrize("name", MODELS)
def test_models_differ_in_their_norms_alone(name):
    """From one seed: what a step takes and gives has the same tree, and the same bits.

    Haiku's first state is of the batch that `init` saw, so in it each rounds for itself. The same
    model lowers to the same program again, and to another one with our norms.
    """
    import_peer(MODELS[name].framework)
    assert MODELS[name].available()
    theirs, ours = (MODELS[name].make(whose) for whose in frameworks.WHOSE)
    assert theirs.called == ours.called
    rounding = 1e-5 if MODELS[name].framework == "haiku" else 0
    for a, b in zip(jax.tree.leaves(theirs.carried), jax.tree.leaves(ours.carried), strict=True):
        np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding)
    for steps in (theirs, ours):
        carried, loss = jax.eval_shape(steps.train, steps.carried, *steps.batch)
        assert jax.tree.structure(carried) == jax.tree.structure(steps.carried)
        assert loss.shape == ()
        y = jax.eval_shape(steps.evaluate, steps.carried, steps.batch[0])
        assert y.shape == (steps.batch[0].shape[0], framework_models.CLASSES)
        assert len(jax.tree.leaves(steps.per_call())) > 0
    program, same, exchanged = (
        jax.jit(steps.evaluate).lower(steps.carried, steps.batch[0]).as_text()
        for steps in (theirs, MODELS[name].make("theirs"), ours)
    )
    assert program == same
    assert program != exchanged


@pytest.mark.parametrize("name", MODELS)
def test_norms_are_taken_from_the_modules_named(name):
    """Ours is an adapter, theirs is not."""
    import_peer(MODELS[name].framework)
    ours = importlib.import_module(MODELS[name].ours)
    theirs = importlib.import_module(MODELS[name].theirs)
    assert ours.LayerNorm.__module__.startswith("inox.interop.")
    assert not theirs.LayerNorm.__module__.startswith("inox.")


def counting_steps(unit):
    """A model of one number, to which a step adds the mean of x."""
    return Steps(
        np.zeros((), np.float32),
        (np.full(3, unit, np.float32), np.zeros(3, np.float32)),
        lambda carried, x, _: (carried + x.mean(), carried),
        lambda carried, x: carried + x,
        lambda: None,
        "nothing",
    )


def test_training_carries_its_result_and_evaluation_none():
    """Step after step; and both clocks have a figure for each round."""
    training = frameworks.Running(counting_steps(2), trains=True)
    assert [float(training.step()) for _ in range(3)] == [0.0, 2.0, 4.0]
    evaluating = frameworks.Running(counting_steps(2), trains=False)
    for _ in range(2):
        np.testing.assert_array_equal(evaluating.step(), np.full(3, 2.0))
    assert evaluating.seconds() > 0
    assert len(evaluating.cpu_seconds) == 1
    making = frameworks.Making(counting_steps(2))
    assert making.seconds() > 0
    assert len(making.compile_seconds) == 1


def test_models_that_differ_are_not_timed():
    """By more than rounding, or by a NaN."""
    entry = MODELS["nnx transformer"]
    one = np.ones(3, np.float32)
    frameworks._check(entry, {"theirs": one, "ours": one + np.float32(1e-6)})
    for other in (one + np.float32(0.1), np.full(3, np.nan, np.float32)):
        with pytest.raises(RuntimeError, match="Flax NNX, transformer: the two differ"):
            frameworks._check(entry, {"theirs": one, "ours": other})


def record(what, **seconds):
    told = {"model": "linen transformer", "what": what, "kernels": "in use, avx2"}
    milliseconds = {name: [1e-3 * s] * 3 for name, s in seconds.items()}
    return {**told, "seconds": milliseconds, "cpu_seconds": milliseconds, "called": "a call"}


def test_tables():
    """Steps by two clocks, and the rest in a third; ours is told as a ratio."""
    records = [
        record("train", theirs=4, ours=3),
        record("evaluate", theirs=2, ours=1),
        record("call", theirs=1, ours=2),
        record("lower", theirs=1, ours=3),
        record("compile", theirs=1, ours=4),
    ]
    results = {
        "machine": {"platform": "cpu"},
        "versions": {},
        "sections": {"frameworks": records},
    }
    wall, cpu, outside = (
        table for table in tables.all_tables(results) if table.title.startswith("Inside frameworks")
    )
    assert wall.head == ["", "the framework's, ms", "ours"]
    assert [row[0] for row in wall.rows] == [
        "Flax Linen, transformer, a training step",
        "Flax Linen, transformer, a step in evaluation",
    ]
    assert [row[2][:4] for row in wall.rows] == ["0.75", "0.50"]
    assert wall.rows == cpu.rows
    assert "in use, avx2" in wall.note
    assert [row[0].split(", ")[2] for row in outside.rows] == [
        "a call",
        "trace and lower a training step",
        "compile it",
    ]
    assert [row[2][0] for row in outside.rows] == ["2", "3", "4"]
    assert bars.bars(results)


def test_the_part_is_among_those_of_the_command():
    """On the CPU; in the order of the sections."""
    assert list(sections.SECTIONS) == list(command.PARTS)
    assert command.parsed(["--only", "frameworks", "--update"]).parts == ["frameworks"]
