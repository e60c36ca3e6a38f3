"""No mistake is taken in silence: the error names the argument, what was found and the cure."""

import jax
import pytest

from tests.mistakes import of_functions, of_layers, of_residuals, of_trees, of_weights
from tests.mistakes.registry import Mistake, X

MISTAKES = [
    *of_functions.MISTAKES,
    *of_layers.MISTAKES,
    *of_residuals.MISTAKES,
    *of_trees.MISTAKES,
    *of_weights.MISTAKES,
]
# By function or layer and argument, so that one test tells all that is wrong there.
GROUPS: dict[str, list[Mistake]] = {}
for one in MISTAKES:
    GROUPS.setdefault(one.group, []).append(one)


def in_words(mistake: Mistake, program) -> str | None:
    """What is wrong with the error that `program` raises; None where it is as it should be."""
    try:
        program(X)
    except mistake.kind as error:
        message = str(error)
    except Exception as error:  # a test reports whatever comes
        return f"{type(error).__name__} in place of {mistake.kind.__name__}: {error}"
    else:
        return f"no {mistake.kind.__name__}"
    missing = [fragment for fragment in mistake.fragments if fragment not in message]
    if missing:
        return f"{missing} missing from: {message}"
    # What is wrong and what to do, and short enough that a person reads it to the end.
    return None if 60 < len(message) < 500 else f"{len(message)} characters: {message}"


def test_each_mistake_is_told_once():
    """The list is of distinct mistakes, of every function and layer."""
    names = [mistake.name for mistake in MISTAKES]
    assert len(set(names)) == len(names)
    assert len(names) > 1500


@pytest.mark.parametrize("call", GROUPS)
def test_mistakes_are_refused(call):
    """The same error from a call with arrays and while `jit` traces the array."""
    problems = {
        f"{mistake}, {way}": problem
        for mistake in GROUPS[call]
        for way, program in (("eager", mistake.call), ("traced", jax.jit(mistake.call)))
        if (problem := in_words(mistake, program))
    }
    assert problems == {}
