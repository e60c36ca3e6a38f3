"""Haiku's conventions: signatures, names, shapes and dtypes of parameters and state, numbers."""

import inspect

import haiku as hk
import jax
import numpy as np
import pytest

from inox.interop import haiku as ours
from tests.interop.haiku_cases import LAYERS, example, kinds, random_like, transformed

CLASSES = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]
each = pytest.mark.parametrize("name", LAYERS)
pytestmark = pytest.mark.usefixtures("standard_promotion")


def plain(signature):
    """Names, kinds and defaults."""
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


@pytest.mark.parametrize("name", CLASSES)
def test_signatures(name):
    """Constructor and call take Haiku's arguments in its order, with its defaults."""
    mine, theirs = getattr(ours, name), getattr(hk, name)
    assert issubclass(mine, hk.Module)
    assert plain(inspect.signature(mine)) == plain(inspect.signature(theirs))
    assert plain(inspect.signature(mine.__call__)) == plain(inspect.signature(theirs.__call__))


@pytest.mark.parametrize("cls", CLASSES)
def test_attributes(cls):
    """What Haiku's layers tell of themselves, ours tell as well."""

    def attributes(module):
        _, arguments = next(case for case in LAYERS.values() if case[0] == cls)
        layer = getattr(module, cls)(**arguments)
        return {key for key in vars(layer) if not key.startswith("_")}

    found = {}

    def network():
        found["ours"], found["theirs"] = attributes(ours), attributes(hk)

    hk.transform(network).init(None)
    assert found["ours"] == found["theirs"]


@each
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_trees(name, dtype):
    """Parameters and state have Haiku's names, shapes and dtypes, but for half statistics.

    The running statistics of a half type are float32.
    """
    x = example(name).astype(dtype)
    trees = [
        jax.eval_shape(transformed(module, name).init, jax.random.key(0), x)
        for module in (ours, hk)
    ]
    (parameters, state), (their_parameters, their_state) = trees
    assert kinds(parameters) == kinds(their_parameters)
    wide = jax.tree.map(
        lambda leaf: leaf.update(dtype="float32") if leaf.dtype == dtype else leaf, their_state
    )
    assert kinds(state) == kinds(wide)


@each
def test_numbers(name):
    """Outputs, states and gradients are Haiku's to rounding, in training and evaluation.

    Means of some hundred numbers of order 1 differ by a few units of the last place, 6e-8 each;
    what is divided by the deviation, and summed for a gradient, by ten times as much.
    """
    x = example(name)
    results = []
    parameters, state = transformed(hk, name).init(jax.random.key(0), x)
    parameters = random_like(parameters)
    weights = example(name[::-1] + "w")

    for module in (ours, hk):
        network = transformed(module, name)

        def loss(parameters, x, network=network):
            y, after = network.apply(parameters, state, None, x, True)
            return (y * weights).sum() / 100, (y, after)

        @jax.jit
        def run(parameters, x, network=network, loss=loss):
            _, first = network.init(jax.random.key(0), x)
            gradients, (y, after) = jax.grad(loss, (0, 1), has_aux=True)(parameters, x)
            _, after = network.apply(parameters, after, None, 1.5 * x + 1, True)
            z, unchanged = network.apply(parameters, after, None, x, False)
            return first, gradients, y, after, z, unchanged

        results.append(run(parameters, x))
        *_, after, _, unchanged = results[-1]
        assert all(map(np.array_equal, *map(jax.tree.leaves, (unchanged, after))))
    for mine, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_fall_through():
    """What is Haiku's alone is found in our module, so that the import is all that changes."""
    assert ours.Linear is hk.Linear
    assert ours.nets is hk.nets
    assert ours.transform_with_state is hk.transform_with_state
    assert ours.BatchNorm is not hk.BatchNorm
    assert set(dir(hk)) <= set(dir(ours))
    with pytest.raises(AttributeError, match="NoSuchLayer"):
        _ = ours.NoSuchLayer


def test_mean_of_last_training_batch_first():
    """The initial state holds the average of the batch that `init` saw, as Haiku's does."""
    x = example("batch")
    _, state = transformed(ours, "batch").init(None, x)
    average = state["batch_norm/~/mean_ema"]["average"]
    np.testing.assert_allclose(average[0, 0, 0], x.mean((0, 1, 2)), rtol=1e-5)
    assert state["batch_norm/~/mean_ema"]["counter"] == 0
    assert not state["batch_norm/~/mean_ema"]["hidden"].any()
