"""The explicit state: how it is exported and updated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, example, standardize64

from inox.nn import (
    BatchNorm,
    LayerNorm,
    Module,
    Parameter,
    RMSNorm,
    StateEntry,
    StateKey,
    Statistics,
    export_state,
    update_state,
)


class Counter(Module):
    """A user's own stateful module: it counts its calls."""

    def __init__(self, start: int = 0):
        self.calls = StateEntry(jnp.asarray(start, jnp.int32))

    def __call__(self, x, state):
        return x + 1, update_state(state, {self.calls: state[self.calls] + 1})


def model():
    return Module(
        layers=[BatchNorm(4, scale=jnp.ones(4)), LayerNorm(), BatchNorm(4)],
        head={"norm": BatchNorm(2)},
    )


def test_state_is_a_plain_dict_from_path_to_statistics():
    """Keys are strings, the entries' paths in the tree; values hold mean and variance."""
    exported, state = export_state(model())
    assert type(state) is dict
    assert {str(key) for key in state} == {
        ".layers[0].stats",
        ".layers[2].stats",
        ".head['norm'].stats",
    }
    key = exported.layers[0].stats
    assert isinstance(key, StateKey)
    assert isinstance(key, str)
    assert key == ".layers[0].stats"
    assert type(state[key]) is Statistics
    assert state[".layers[0].stats"] is state[key]
    assert state[key]._fields == ("mean", "var")
    assert state[key].mean.dtype == state[key].var.dtype == jnp.float32


def test_export_leaves_the_tree_as_it_was():
    """The exported tree is a new one; the original can be exported again."""
    original = model()
    before = jax.tree.structure(original)
    exported, state = export_state(original)
    assert isinstance(original.layers[0].stats, StateEntry)
    assert jax.tree.structure(original) == before
    exported_again, state_again = export_state(original)
    assert jax.tree.structure(exported) == jax.tree.structure(exported_again)
    assert_same_bits(state, state_again)
    exported.train(False)
    assert exported.layers[0].training is False
    assert original.layers[0].training is True


def test_keys_are_no_leaves():
    """A key is part of the structure: the exported model's leaves are its parameters alone."""
    exported, _ = export_state(model())
    assert len(jax.tree.leaves(exported)) == 1
    assert jax.tree.leaves(StateKey("a")) == []


@pytest.mark.parametrize("kind", ["list", "tuple", "dict", "layer", "nested"])
def test_any_pytree_of_layers_can_be_exported(kind):
    """Lists, tuples, dicts and single layers come back in their own kind and train."""
    build = {
        "list": lambda: [BatchNorm(4), LayerNorm()],
        "tuple": lambda: (BatchNorm(4), jnp.ones(3)),
        "dict": lambda: {"norm": BatchNorm(4), "kernel": jnp.ones((4, 4))},
        "layer": lambda: BatchNorm(4),
        "nested": lambda: {"blocks": [{"norm": BatchNorm(4)}, None, 3.0]},
    }[kind]
    find = {
        "list": lambda tree: tree[0],
        "tuple": lambda tree: tree[0],
        "dict": lambda tree: tree["norm"],
        "layer": lambda tree: tree,
        "nested": lambda tree: tree["blocks"][0]["norm"],
    }[kind]
    key = {
        "list": "[0].stats",
        "tuple": "[0].stats",
        "dict": "['norm'].stats",
        "layer": ".stats",
        "nested": "['blocks'][0]['norm'].stats",
    }[kind]
    tree, state = export_state(build())
    assert type(tree) is type(build())
    assert set(state) == {key}
    x = example()
    _, state = find(tree)(x, state)
    assert_close(state[key].mean, x.astype(np.float64).mean((0, 1, 2)) / 10)


def test_tree_without_entries_gives_an_empty_state():
    """Layers without state export to {}, and the tree keeps its leaves."""
    tree, state = export_state({"norm": LayerNorm(scale=jnp.ones(4)), "array": jnp.ones(2)})
    assert state == {}
    assert len(jax.tree.leaves(tree)) == 2


def test_own_stateful_modules():
    """A user's `StateEntry` of any array travels as the layers' own do, under jit too."""
    module, state = export_state(Module(first=Counter(3), second=Counter()))
    assert int(state[module.first.calls]) == 3

    @jax.jit
    def step(module, x, state):
        x, state = module.first(x, state)
        x, state = module.second(x, state)
        return module.second(x, state)

    x, state = step(module, jnp.zeros(2), state)
    np.testing.assert_array_equal(x, [3, 3])
    assert (int(state[module.first.calls]), int(state[module.second.calls])) == (4, 2)


def test_entry_before_export_holds_its_value():
    """A `StateEntry` shows the value it will export, also when it holds a whole tree."""
    entry = StateEntry({"a": jnp.ones(2)})
    np.testing.assert_array_equal(entry.value["a"], [1, 1])
    module, state = export_state(Module(entry=entry))
    np.testing.assert_array_equal(state[module.entry]["a"], [1, 1])


def test_update_never_changes_the_state_in_place():
    """`update_state` gives a new dict; the old dict and its arrays stay."""
    exported, state = export_state(model())
    before = {key: jax.tree.map(lambda leaf: np.array(leaf), value) for key, value in state.items()}
    identities = {key: id(value) for key, value in state.items()}
    key = exported.layers[2].stats
    updated = update_state(state, {key: Statistics(jnp.full(4, 5.0), jnp.full(4, 6.0))})
    assert updated is not state
    assert type(updated) is dict
    np.testing.assert_array_equal(updated[key].mean, [5, 5, 5, 5])
    assert updated[exported.layers[0].stats] is state[exported.layers[0].stats]
    assert {name: id(value) for name, value in state.items()} == identities
    for name, value in before.items():
        np.testing.assert_array_equal(state[name].mean, value.mean)
        np.testing.assert_array_equal(state[name].var, value.var)
    assert update_state(state, {}) is not state


def test_update_refuses_unknown_keys_by_name():
    """The error names the entry that the state does not hold; the state stays."""
    _, state = export_state(model())
    keys = list(state)
    with pytest.raises(ValueError, match=r"\.nowhere\.stats"):
        update_state(state, {".nowhere.stats": jnp.zeros(4)})
    assert list(state) == keys


def test_one_layer_used_twice_shares_one_entry():
    """The same object at two places stays one: one entry, moved by both calls in turn."""
    norm = BatchNorm(4)
    tree, state = export_state(Module(first=norm, second=norm))
    assert len(state) == 1
    assert tree.first.stats == tree.second.stats
    x = example()
    _, state = tree.first(x, state)
    _, state = tree.second(3 * x, state)
    mean = x.astype(np.float64).mean((0, 1, 2))
    assert_close(state[tree.first.stats].mean, 0.9 * 0.1 * mean + 0.1 * 3 * mean)


def test_equal_layers_have_entries_of_their_own():
    """Two layers built alike are two: each has its entry."""
    tree, state = export_state([BatchNorm(4), BatchNorm(4)])
    assert len(state) == 2
    assert tree[0].stats != tree[1].stats


def test_exporting_an_exported_tree_adds_nothing():
    """A second export finds no entries: the tree keeps its keys, so an older state still fits."""
    tree, state = export_state(model())
    again, empty = export_state(tree)
    assert empty == {}
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    _, moved = again.layers[0](example(), state)
    assert moved.keys() == state.keys()


def test_statistics_follow_the_default_float(x64):
    """Under double precision the statistics are float64, also for a float32 input."""
    layer, state = export_state(BatchNorm(4, momentum=0.5))
    assert state[layer.stats].mean.dtype == state[layer.stats].var.dtype == jnp.float64
    x = example()
    for given in (x, x.astype(np.float64)):
        y, after = layer(jnp.asarray(given), state)
        assert y.dtype == given.dtype
        assert after[layer.stats].var.dtype == jnp.float64
        expected = 0.5 + 0.5 * given.astype(np.float64).var((0, 1, 2))
        tolerance = 1e-6 if given.dtype == np.float32 else 1e-13
        np.testing.assert_allclose(after[layer.stats].var, expected, rtol=tolerance)
        evaluated = jax.tree.map(lambda leaf: leaf, layer)
        evaluated.train(False)
        y, _ = evaluated(jnp.asarray(given), after)
        assert y.dtype == given.dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_statistics_stay_float32_under_half_inputs(dtype):
    """A half precision input gives a half precision output and moves float32 statistics."""
    layer, state = export_state(BatchNorm(4))
    x = jnp.asarray(example(), dtype)
    y, state = jax.jit(layer)(x, state)
    assert y.dtype == dtype
    assert state[layer.stats].mean.dtype == state[layer.stats].var.dtype == jnp.float32
    exact = np.asarray(x.astype(jnp.float32), np.float64)
    assert_close(state[layer.stats].mean, exact.mean((0, 1, 2)) / 10)
    assert_close(state[layer.stats].var, 0.9 + exact.var((0, 1, 2)) / 10)


def test_shared_parameters_are_warned_of():
    """A parameter at two places drifts apart in training: the warning names both, and the cure."""
    scale = Parameter(jnp.ones(4))
    tied = Module(first=LayerNorm(scale=scale), second=[RMSNorm(scale=scale)])
    norm = BatchNorm(4, scale=jnp.ones(4))
    for tree, places in (
        (tied, (".first.scale", ".second[0].scale")),
        ({"a": norm, "b": norm}, ("['a'].scale", "['b'].scale")),
    ):
        with pytest.warns(UserWarning, match="Keep it at one place") as caught:
            export_state(tree)
        assert len(caught) == 1
        assert all(repr(place) in str(caught[0].message) for place in places)
        assert caught[0].filename == __file__
    slopes = jax.grad(lambda model: jnp.sum(model.first(example())[..., 0]))(tied)
    updated = jax.tree.map(lambda leaf, slope: leaf - slope, tied, slopes)
    expected = 1 - standardize64(example(), -1, 1e-5)[..., 0].sum()
    assert_close(updated.first.scale()[0], expected, 64, floor=1.0)
    assert_same_bits(updated.second[0].scale(), scale())


def test_arrays_that_parameters_share_are_no_shared_parameters():
    """The same array given to two layers makes two parameters: no warning."""
    ones = jnp.ones(4)
    export_state([BatchNorm(4, scale=ones), BatchNorm(4, scale=ones), LayerNorm(scale=ones)])


def test_keys_are_strings_and_nothing_else():
    """A key has no attributes of its own: it takes the memory of its text alone."""
    with pytest.raises(AttributeError):
        StateKey("a").note = 1
    assert not hasattr(StateKey("a"), "__dict__")
