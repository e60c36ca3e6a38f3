"""`merge_states`: exact pooling of copies that have seen different data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.calibration import merge_states, recalibrate
from inox.nn import BatchNorm, StateEntry, export_state
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
    with pytest.raises(TypeError, match="state dictionaries"):
        merge_states([first, None], [1, 1])
