"""What taking a model apart costs, in calls of Python functions and comparisons: never in time."""

import gc
import sys
import weakref

import jax
import jax.numpy as jnp
import pytest

from inox.nn import BatchNorm, LayerNorm, Module, export_state

LAYERS = 100


def calls(function) -> int:
    """How many Python functions run in a call."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def layer_norms():
    return Module(layers=[LayerNorm(scale=jnp.ones(4), bias=jnp.zeros(4)) for _ in range(LAYERS)])


def batch_norms():
    layers = [BatchNorm(4, scale=jnp.ones(4), bias=jnp.zeros(4)) for _ in range(LAYERS)]
    return export_state(Module(layers=layers))[0]


@pytest.mark.parametrize("build", [layer_norms, batch_norms])
@pytest.mark.parametrize("travelled", [False, True])
def test_a_node_is_taken_apart_and_put_together_by_one_function(build, travelled):
    """Flatten and unflatten run a function for each node of a layer, its parameters and its key.

    A layer norm has three nodes, a batch norm a fourth; two calls for a parameter and ten for the
    whole are allowed for.
    """
    model = build()
    if travelled:
        model = jax.tree.map(lambda leaf: leaf, model)
    leaves, treedef = jax.tree.flatten(model)
    nodes = 4 if build is batch_norms else 3
    assert calls(lambda: jax.tree.flatten(model)) <= LAYERS * nodes + 20
    assert calls(lambda: jax.tree.unflatten(treedef, leaves)) <= LAYERS * (nodes + 2) + 20


class Counted:
    """A static value that counts how often it is compared."""

    comparisons = 0

    def __eq__(self, other):
        Counted.comparisons += 1
        return isinstance(other, Counted)

    def __hash__(self):
        return 0


def test_calls_of_a_compiled_function_compare_no_configuration():
    """A model, what JAX has made of it, and one built alike of plain values: one structure."""

    def built():
        return Module(layers=[Module(array=jnp.ones(1), rate=0.1, name="first", dtype=jnp.int8)])

    model = Module(layers=[Module(array=jnp.ones(1), config=Counted())])
    traces = []

    @jax.jit
    def run(model, x):
        traces.append(None)
        return x

    run(model, 1.0)
    Counted.comparisons = 0
    run(jax.tree.map(lambda leaf: leaf + 1, model), 1.0)
    run(model, 1.0)
    assert Counted.comparisons == 0
    assert len(traces) == 1
    first, second = (jax.tree.structure(built().layers[0]).node_data()[1] for _ in range(2))
    assert first is second


def test_structures_that_nobody_holds_are_dropped():
    """A structure lives as long as a module or a treedef has it: building models leaks none."""
    module = Module(number=1, array=jnp.ones(1))
    structure = weakref.ref(jax.tree.structure(module).node_data()[1])
    assert structure() is not None
    assert jax.tree.structure(Module(number=1, array=jnp.ones(1))).node_data()[1] is structure()
    del module
    gc.collect()
    assert structure() is None
