"""The choice of how hard XLA works on a test's programs reaches XLA."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from tests import compiling

TESTS = Path(__file__).parent


def optimization_asked_for(monkeypatch):
    """What XLA is given where a function is compiled."""
    asked = []

    def options(*arguments, **settings):
        asked.append(compiling.options(*arguments, **settings))
        return asked[-1]

    monkeypatch.setattr(compiling.compiler, "get_compile_options", options)
    jax.jit(lambda x: jnp.exp(x) + 1)(jnp.ones(3)).block_until_ready()
    return dict(asked[-1].env_option_overrides)


def test_tests_outside_of_the_folders_named_are_compiled_quickly(monkeypatch):
    """As this one is."""
    assert compiling.compiler.get_compile_options is compiling.options
    assert optimization_asked_for(monkeypatch) == compiling.QUICKLY


@pytest.mark.compiled_as_for_users
def test_a_test_that_is_marked_is_compiled_as_for_users(monkeypatch):
    """Nothing is asked for beyond what JAX asks for."""
    assert optimization_asked_for(monkeypatch) == {}


def test_the_folders_named_are_there():
    """A folder that is renamed would lose its tests' meaning unseen."""
    for name in compiling.AS_FOR_USERS:
        file = next((TESTS / name).glob("test_*.py"))
        assert not compiling.wants_quick(file, TESTS, set())
        assert compiling.wants_quick(file, TESTS, {"compiled_quickly"})
    assert compiling.wants_quick(TESTS / "nn" / "test_it.py", TESTS, set())
    assert not compiling.wants_quick(TESTS / "test_it.py", TESTS, {"compiled_as_for_users"})
