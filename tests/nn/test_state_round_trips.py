"""Parameters and state survive storage bit for bit, into a freshly built model."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
import safetensors.numpy
from layer_cases import assert_same_bits, example

from inox.nn import BatchNorm, LayerNorm, Module, Parameter, export_state


class Network(Module):
    """Every place a key can come from: a list, a dict and an attribute."""

    def __init__(self, seed: int):
        numbers = jnp.asarray(np.random.default_rng(seed).standard_normal((3, 4)), jnp.float32)
        self.layers = [BatchNorm(4, scale=numbers[0], bias=numbers[1]), LayerNorm(scale=numbers[2])]
        self.blocks = {"last": BatchNorm(4, warmup=True)}

    def __call__(self, x, state):
        x, state = self.layers[0](x, state)
        return self.blocks["last"](self.layers[1](x), state)


@jax.jit
def step(model, x, state):
    return model(x, state)


def flat(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def through_tree(trees, fresh, folder):
    return jax.tree.unflatten(jax.tree.structure(fresh), jax.tree.leaves(trees))


def through_pickle(trees, fresh, folder):
    (folder / "model.pickle").write_bytes(pickle.dumps(trees))
    return pickle.loads((folder / "model.pickle").read_bytes())


def through_safetensors(trees, fresh, folder):
    safetensors.numpy.save_file(flat(trees), folder / "model.safetensors")
    stored = safetensors.numpy.load_file(folder / "model.safetensors")
    assert stored.keys() == flat(fresh).keys()
    arrays = [jnp.asarray(stored[path]) for path in flat(fresh)]
    return jax.tree.unflatten(jax.tree.structure(fresh), arrays)


def through_orbax(trees, fresh, folder):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "model", trees)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder / "model", jax.eval_shape(lambda: fresh))


def through_orbax_without_target(trees, fresh, folder):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "model", trees)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(folder / "model")
    return jax.tree.unflatten(jax.tree.structure(fresh), jax.tree.leaves(restored))


JOURNEYS = {
    "tree": through_tree,
    "pickle": through_pickle,
    "safetensors": through_safetensors,
    "orbax": through_orbax,
    "orbax_without_target": through_orbax_without_target,
}


@pytest.mark.parametrize("journey", JOURNEYS)
def test_trained_model_comes_back_into_a_fresh_one(journey, tmp_path):
    """Parameters and state, stored and read, give a new model the old one's exact answers."""
    model, state = export_state(Network(0))
    for seed in range(3):
        _, state = step(model, example(seed), state)
    _, parameters, others = model.partition(Parameter)
    trained = {"parameters": parameters, "others": others, "state": state}

    fresh_model, fresh_state = export_state(Network(1))
    definition, fresh_parameters, fresh_others = fresh_model.partition(Parameter)
    fresh = {"parameters": fresh_parameters, "others": fresh_others, "state": fresh_state}
    restored = JOURNEYS[journey](trained, fresh, tmp_path)

    assert type(restored["state"]) is dict
    assert_same_bits(restored, trained)
    revived = definition(restored["parameters"], restored["others"])
    x = example(9)
    for mode in (True, False):
        model.train(mode)
        revived.train(mode)
        assert_same_bits(step(revived, x, restored["state"]), step(model, x, state))


def test_state_is_a_pytree_that_plain_functions_take():
    """`jax.tree.map` averages two states; jit, vmap and grad take the dict as any other."""
    model, state = export_state(Network(0))
    _, moved = model(example(), state)
    average = jax.jit(lambda one, other: jax.tree.map(lambda a, b: (a + b) / 2, one, other))(
        state, moved
    )
    assert jax.tree.structure(average) == jax.tree.structure(state)
    key = model.layers[0].stats
    expected = (np.asarray(state[key].mean) + np.asarray(moved[key].mean)) / 2
    np.testing.assert_array_equal(average[key].mean, expected)
    y, _ = model(example(), average)
    assert np.isfinite(np.asarray(y)).all()
