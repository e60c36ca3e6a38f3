"""The states of several models: kept apart, joined, and of one model inside another."""

import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, example

from inox.nn import BatchNorm, LayerNorm, Module, export_state, join_states


def model():
    return Module(
        layers=[BatchNorm(4, scale=jnp.ones(4)), LayerNorm(), BatchNorm(4)],
        head={"norm": BatchNorm(2)},
    )


def test_two_models_keep_their_states_apart():
    """Two models exported alone have their own states: training one leaves the other's bits."""
    first, first_state = export_state(model())
    _, second_state = export_state(model())
    _, moved = first.layers[0](example(), first_state)
    assert_same_bits(second_state, export_state(model())[1])
    assert np.all(np.asarray(moved[first.layers[0].stats].mean) != 0)


def test_prefix_keeps_two_models_apart_in_one_state():
    """With a prefix each, two equal models share one dict, and each moves its own entries."""
    one, one_state = export_state(model(), prefix="one")
    _, two_state = export_state(model(), prefix="two")
    state = join_states(one_state, two_state)
    assert type(state) is dict
    assert len(state) == 6
    assert all(key.startswith("one") for key in one_state)
    x = example()
    _, after = one.layers[0](x, state)
    assert_close(after[one.layers[0].stats].mean, x.astype(np.float64).mean((0, 1, 2)) / 10)
    assert_same_bits({key: after[key] for key in two_state}, two_state)
    assert_same_bits({key: state[key] for key in one_state}, one_state)


def test_join_refuses_collisions_by_name():
    """Two models with the same keys can't share a state: the error names a key and the cure."""
    _, one = export_state(model())
    _, two = export_state(model())
    with pytest.raises(ValueError, match=r"\.stats") as caught:
        join_states(one, two)
    assert any(key in str(caught.value) for key in one)
    assert "prefix" in str(caught.value)
    assert len(one) == len(two) == 3


def test_join_of_nothing_and_of_one():
    """Joining is a merge: none gives {}, one gives an equal new dict."""
    _, state = export_state(BatchNorm(4))
    assert join_states() == {}
    joined = join_states(state)
    assert_same_bits(joined, state)
    assert joined is not state


def test_exported_part_keeps_its_key_in_a_larger_tree():
    """An exported layer put into a new model keeps its key; the new layers get theirs."""
    norm, norm_state = export_state(BatchNorm(4), prefix="old")
    tree, state = export_state(Module(old=norm, new=BatchNorm(4)))
    assert set(state) == {".new.stats"}
    joined = join_states(norm_state, state)
    _, after = tree.old(example(), joined)
    assert_same_bits(after[".new.stats"], state[".new.stats"])
    assert np.all(np.asarray(after[norm.stats].mean) != 0)
