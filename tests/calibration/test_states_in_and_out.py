"""States keep their containers, and share no buffer with what they were made from."""

import collections
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.calibration import accumulate, commit, drift, merge_states, recalibrate
from inox.nn import BatchNorm, Module, StateEntry, Statistics, export_state, freeze, update_state
from tests.calibration.networks import apply, make_network, rows, same_bits

CHANNELS = 3
ENTRIES = {
    "statistics": lambda stats: Statistics(*stats),
    "dict": lambda stats: {"var": stats.var, "mean": stats.mean},
    "list": list,
    "tuple": tuple,
    "frozen_dict": None,  # Flax's, where it is installed
}


class Counting(Module):
    """A batch norm that warms up, one that is frozen, and a count of calls that is no batch norm's.

    The three kinds of entries: moved, kept, and changed by the microbatches.
    """

    def __init__(self):
        self.norm = BatchNorm(CHANNELS, warmup=True)
        self.frozen = freeze(BatchNorm(CHANNELS))
        self.calls = StateEntry({"number": jnp.zeros(())})

    def __call__(self, x, state):
        number = state[self.calls]["number"] + 1
        state = update_state(state, {self.calls: {"number": number}})
        y, state = self.norm(x, state)
        return self.frozen(y, state)


def make_counting():
    """The network, exported, with arrays of the state's own, so that it can be donated."""
    model, state = export_state(Counting())
    return model, jax.tree.map(jnp.copy, state)


def buffers(tree):
    """The addresses of all arrays."""
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]


def assert_apart(result, *arguments):
    """No array of the result is one of the arguments', or there twice: all can be donated."""
    found = buffers(result)
    assert len(set(found)) == len(found)
    assert not set(found) & set(buffers(arguments))


def donate(*trees):
    """What a compiled function does with the arrays that are donated to it."""
    for leaf in jax.tree.leaves(trees):
        leaf.delete()


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_keep_their_containers(name, peer):
    """Statistics as a dict, list, tuple or FrozenDict come out as such, with the same numbers."""
    make = ENTRIES[name] or (lambda stats: peer("flax.core").FrozenDict(stats._asdict()))
    model, plain = export_state([BatchNorm(CHANNELS), freeze(BatchNorm(CHANNELS))])
    state = {key: make(entry) for key, entry in plain.items()}

    def call(model, state, x):
        for layer in model:
            x, state = layer(x, state)
        return state

    def same(found, expected):
        assert jax.tree.structure(found) == jax.tree.structure(state)
        for key, entry in found.items():
            assert type(entry) is type(state[key])
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(np.sort(one), np.sort(other))

    def as_state(expected):
        return {key: make(entry) for key, entry in expected.items()}

    batches = [rows(0, 4), rows(1, 4)]
    same(
        recalibrate(call, model, state, batches, progress=False),
        as_state(recalibrate(call, model, plain, batches, progress=False)),
    )
    pooled = accumulate(model, state)[1]
    assert {key: type(pooled[key]) for key in state} == {key: type(e) for key, e in state.items()}
    for x in batches:
        pooled = call(model, pooled, x)
    expected = accumulate(model, plain)[1]
    for x in batches:
        expected = call(model, expected, x)
    same(commit(model, state, pooled), as_state(commit(model, plain, expected)))
    merged = merge_states([state, plain], [1, 2])
    same(merged, as_state(merge_states([plain, plain], [1, 2])))


@pytest.mark.parametrize("name", ["FrozenDict", "OrderedDict", "MappingProxyType"])
def test_whole_states_keep_their_container(name, peer):
    """A FrozenDict, an OrderedDict, a view that is no PyTree: each comes out as it came in."""
    kind = {
        "FrozenDict": lambda entries: peer("flax.core").FrozenDict(entries),
        "OrderedDict": collections.OrderedDict,
        "MappingProxyType": types.MappingProxyType,
    }[name]
    model, plain = make_network(warmup=True)
    state = kind(plain)
    batches = [rows(0, 4), rows(1, 4)]
    found = recalibrate(apply, model, state, batches, progress=False, sequential=True)
    assert type(found) is type(state)
    assert list(found) == list(state)
    expected = recalibrate(apply, model, plain, batches, progress=False, sequential=True)
    same_bits(dict(found), expected)
    assert len(drift(apply, model, state, batches, progress=False).rows) == 2
    pooling, pooled = accumulate(model, state)
    assert type(pooled) is type(state)
    pooled = kind(apply(pooling, pooled, batches[0]))
    found = commit(model, state, pooled)
    assert type(found) is type(state)
    same_bits(dict(found), commit(model, plain, dict(pooled)))
    merged = merge_states([state, found], [1, 1])
    assert type(merged) is type(state)
    same_bits(dict(merged), merge_states([plain, dict(found)], [1, 1]))


def test_a_pooled_state_may_be_donated():
    """Microbatches whose step donates the pooled state leave the state for the commit, and again.

    Whatever is donated next, the committed state, the old one or the pooled one, the others live.
    """
    model, state = make_counting()
    step = jax.jit(apply, donate_argnums=1)
    copies = jax.tree.map(np.array, state)
    for _ in range(2):
        pooling, pooled = accumulate(model, state)
        assert_apart(pooled, state)
        for seed in range(2):
            pooled = step(pooling, pooled, rows(seed, 4))
        committed = commit(model, state, pooled)
        assert_apart(committed, state, pooled)
        same_bits(state, jax.tree.map(jnp.asarray, copies))
    same_bits(committed[model.calls], {"number": jnp.float32(2)})
    donate(state, pooled)
    kept = jax.tree.map(np.array, committed)
    pooling, pooled = accumulate(model, committed)
    donate(pooled)
    same_bits(committed, jax.tree.map(jnp.asarray, kept))


def test_a_recalibrated_or_merged_state_may_be_donated():
    """Frozen layers and entries that are no batch norm's are kept, in arrays of their own."""
    model, state = make_counting()
    for sequential in (False, True):
        new = recalibrate(apply, model, state, [rows(0, 4)], progress=False, sequential=sequential)
        assert_apart(new, state)
    for states in ([new, state], [state]):
        assert_apart(merge_states(states, [1] * len(states)), *states)
    before = jax.tree.map(np.array, state)
    donate(new)
    same_bits(state, jax.tree.map(jnp.asarray, before))
    again = recalibrate(apply, model, state, [rows(0, 4)], progress=False)
    donate(state)
    same_bits(again[model.frozen.stats], jax.tree.map(jnp.asarray, before[model.frozen.stats]))


def test_random_keys_and_numbers_are_kept():
    """Entries that are no arrays of numbers, a random key or a Python number, pass through."""
    layer, state = export_state(BatchNorm(CHANNELS))
    state = {**state, "key": jax.random.key(3), "number": 5}
    pooled = apply(layer, accumulate(layer, state)[1], rows(0, 4))
    for found in (
        commit(layer, state, pooled),
        recalibrate(apply, layer, state, [rows(0, 4)], progress=False),
        merge_states([state, state], [1, 1]),
    ):
        assert found["number"] == 5
        assert jax.random.key_data(found["key"]).tolist() == [0, 3]
