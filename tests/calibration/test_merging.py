"""`merge_states`: exact pooling of copies that have seen different data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.calibration import merge_states, recalibrate
from inox.nn import BatchNorm, StateEntry, Statistics, export_state
from tests.calibration.networks import (
    apply,
    message_has,
    moments64,
    rows,
    same_bits,
    ulp,
)

CHANNELS = 3


@functools.cache
def clients():
    """A layer, data of three clients whose means and sizes differ, and their states."""
    layer, state = export_state(BatchNorm(CHANNELS, warmup=True))
    data = [rows(seed, size) + np.float32(1e3 + 5 * seed) for seed, size in enumerate((7, 40, 21))]
    states = [recalibrate(apply, layer, state, np.split(x, [3]), progress=False) for x in data]
    return layer, data, states


def test_merged_statistics_are_those_of_all_data():
    """From exact statistics of each client come the exact ones of all, eager and compiled.

    Against the formula in float64 on the numbers of the states: 1 ulp for the mean, 4 for the
    variance. Against the data a rounded mean counts as well: off by half a unit, 3e-5 at 1e3, it
    changes the variance by at most twice that times the distance of the means, 5 and less.
    """
    layer, data, states = clients()
    counts = [len(x) for x in data]
    weights = np.array(counts, np.float64)[:, None] / sum(counts)
    means, variances = (
        np.stack([np.asarray(getattr(state[layer.stats], name), np.float64) for state in states])
        for name in ("mean", "var")
    )
    mean = (weights * means).sum(0)
    var = (weights * (variances + (means - mean) ** 2)).sum(0)
    merged = merge_states(states, counts)
    for state in (merged, jax.jit(merge_states)(states, counts)):
        found = state[layer.stats]
        assert np.max(np.abs(np.asarray(found.mean, np.float64) - mean) / ulp(mean)) <= 1
        assert np.max(np.abs(np.asarray(found.var, np.float64) - var) / ulp(var)) <= 4
        exact_mean, exact_var = moments64(np.concatenate(data))
        np.testing.assert_allclose(found.mean, exact_mean, rtol=0, atol=2 * 3.1e-5)
        np.testing.assert_allclose(found.var, exact_var, rtol=0, atol=10 * 3.1e-5)
    np.testing.assert_array_equal(merged[layer.batches], np.full(CHANNELS, 6))


def test_one_state_and_states_without_weight():
    """Alone, or beside states with a count of 0, a state is as it was."""
    layer, _, states = clients()
    same_bits(merge_states(states[:1], [3])[layer.stats], states[0][layer.stats])
    alone = merge_states(states, [0, 2.5, 0])
    same_bits(alone[layer.stats], states[1][layer.stats])
    same_bits(alone[layer.batches], states[1][layer.batches])


def test_restored_states_and_scale_of_the_counts():
    """Statistics that a checkpoint made a dict of are taken; counts of any unit give the same."""
    layer, _, states = clients()
    restored = [{str(k): v for k, v in state.items()} for state in states]
    restored[1][str(layer.stats)] = states[1][layer.stats]._asdict()
    expected = merge_states(states, [1, 2, 3])
    same_bits(merge_states(restored, [2, 4, 6])[layer.stats], expected[layer.stats])


# Counts as they come: what is beyond the integers of JAX, or beyond any float, and the exact share
# of the first.
LARGE = {
    "int64": (np.array([2**32 + 1000, 1000]), (2**32 + 1000) / (2**32 + 2000)),
    "uint64": (np.array([2**63, 2**63], np.uint64), 0.5),
    "scalars": ([np.int64(3 * 10**9), np.uint64(10**9)], 0.75),
    "python": ([3 * 10**9, 10**9], 0.75),
    "beyond_floats": ([3 * 10**400, 10**400], 0.75),
    "largest_floats": ([1.5e308, 0.5e308], 0.75),
    "smallest_floats": ([1.5e-310, 0.5e-310], 0.75),
    "mixed": ([2**40, np.float16(0.0)], 1.0),
    "parts": ([0.03, 0.01], 0.75),
}


@pytest.mark.parametrize("name", LARGE)
def test_counts_of_any_size(name):
    """Counts that JAX's integers would wrap, or that add up to less than 1, weigh as they are."""
    counts, share = LARGE[name]
    states = [
        {".stats": Statistics(jnp.full(2, mean), jnp.full(2, var))}
        for mean, var in ((0.0, 1.0), (4.0, 3.0))
    ]
    rest = 1 - share if name != "int64" else 1000 / (2**32 + 2000)
    for wrap in (lambda f: f, jax.jit):  # the counts are known there, too
        found = wrap(lambda: merge_states(states, counts))()[".stats"]
        np.testing.assert_allclose(found.mean, 4 * rest, rtol=2e-7)
        exact = share * 1 + rest * 3 + share * rest * 16
        np.testing.assert_allclose(found.var, exact, rtol=4e-7)


def test_traced_counts_of_any_unit():
    """Counts that are known only in the computation: the same shares, also as fractions of one."""
    _, _, states = clients()
    expected = merge_states(states, [1, 2, 3])
    merge = jax.jit(merge_states)
    for counts in (np.array([1, 2, 3], np.int8), np.float32([0.01, 0.02, 0.03])):
        for found in (merge(states, counts), merge(states, list(counts))):
            for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-6)


def test_low_precision_statistics_are_pooled_in_float32():
    """Statistics in bfloat16 lose one rounding to it: not those of the sums in between."""
    kept = jnp.bfloat16
    states = [
        {".stats": Statistics(jnp.full(2, 100 + i, kept), jnp.full(2, 0.5, kept))} for i in range(3)
    ]
    found = merge_states(states, [300, 400, 300])[".stats"]
    assert found.mean.dtype == found.var.dtype == kept
    np.testing.assert_array_equal(found.mean, np.full(2, 101, kept))
    np.testing.assert_array_equal(found.var, np.full(2, 1.1, kept))


def test_other_entries_must_agree():
    """An entry that isn't batch norm's is kept where all have it, and an error where they don't."""
    _, state = export_state([BatchNorm(2), StateEntry(jnp.arange(3.0))])
    merged = merge_states([state, state], [1, 1])
    same_bits(merged["[1]"], state["[1]"])
    other = {**state, "[1]": state["[1]"] + 1}
    with pytest.raises(ValueError, match="states differ") as error:
        merge_states([state, other], [1, 1])
    message_has(error, "'[1]'", "Merge it yourself")
    with pytest.raises(ValueError, match="not known under"):
        jax.jit(merge_states)([state, state], [1, 1])


def test_mistakes_are_told():
    """Each mistake has a message with the cure."""
    layer, _, states = clients()
    first, *_ = states
    for wrong, counts, match in (
        ([], [], "at least one"),
        (states, [1, 1], "found 2 for 3 states"),
        (states, [1, -1, 1], "from 0"),
        (states, [0, 0, 0], "not all 0"),
        (states, [np.ones(2), 1, 1], "scalars"),
        ([first, {layer.stats: first[layer.stats]}], [1, 1], "same keys"),
        ([first, export_state(BatchNorm(2, warmup=True))[1]], [1, 1], "one shape"),
    ):
        with pytest.raises(ValueError, match=match):
            merge_states(wrong, counts)
    for wrong, found in (([first, None], "NoneType"), (first, "dict"), (5, "int")):
        with pytest.raises(TypeError, match="state dictionaries") as error:
            merge_states(wrong, [1, 1])
        message_has(error, "states", found, "counts=[1000, 500]")
    for counts in (5, None, "111", {"a": 1}, np.int64(5), np.array(5), jnp.array(5)):
        with pytest.raises(TypeError, match="counts must be a list of numbers") as error:
            merge_states(states, counts)
        message_has(error, "counts=[1000, 500]")
    for count in (True, np.True_, jnp.array(True), "1", None, 1j, np.complex64(1)):
        with pytest.raises(TypeError, match="counts must be real numbers"):
            merge_states(states, [count, 1, 1])
    for count in (np.nan, np.inf, -np.inf, -1, np.int8(-1), jnp.float32(-0.5)):
        with pytest.raises(ValueError, match="finite numbers from 0"):
            merge_states(states, [1, count, 1])
    with pytest.raises(ValueError, match="finite numbers from 0"):
        jax.jit(lambda count: merge_states(states, [count, -1, 1]))(1.0)
    whole = {key: jax.tree.map(lambda leaf: leaf.astype(int), e) for key, e in first.items()}
    with pytest.raises(TypeError, match="floating-point") as error:
        merge_states([first, whole], [1, 1])
    message_has(error, "int32", "'.stats'")
