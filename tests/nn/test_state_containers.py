"""A state goes out in the containers in which it came: the whole of it, and each entry."""

import collections
import collections.abc
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_same_bits, example

from inox import calibration, functional
from inox.nn import BatchNorm, BatchRenorm, Statistics, export_state
from inox.nn.normalization.containers import like, read

ENTRY = Statistics(jnp.zeros(3), jnp.ones(3))
NEW = Statistics(jnp.full(3, 5.0), jnp.full(3, 7.0))


class Reversed(NamedTuple):
    """A user's own tuple, whose fields are in another order."""

    var: object
    mean: object


class Renamed(NamedTuple):
    """A user's own tuple, whose fields have other names."""

    first: object
    second: object


CONTAINERS = {
    "statistics": lambda mean, var: Statistics(mean, var),
    "dict": lambda mean, var: {"mean": mean, "var": var},
    "dict_in_another_order": lambda mean, var: {"var": var, "mean": mean},
    "ordered_dict": lambda mean, var: collections.OrderedDict(var=var, mean=mean),
    "read_only_view": lambda mean, var: types.MappingProxyType({"mean": mean, "var": var}),
    "list": lambda mean, var: [mean, var],
    "tuple": lambda mean, var: (mean, var),
    "tuple_in_another_order": lambda mean, var: Reversed(var, mean),
    "tuple_of_other_names": lambda mean, var: Renamed(mean, var),
}


SCANNED = sorted(set(CONTAINERS) - {"read_only_view"})  # which is no PyTree


def assert_same_containers(found, expected):
    """The same type, the same order of keys and the same bits."""
    assert type(found) is type(expected)
    if isinstance(expected, collections.abc.Mapping):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    assert_same_bits(found, expected)


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_entry_is_read_and_written_in_its_container(name):
    """Mean and variance are found by name where there are names, and go back to their places."""
    container = CONTAINERS[name]
    entry = container(*ENTRY)
    found = read(entry, Statistics)
    assert type(found) is Statistics
    assert_same_bits(found, ENTRY)
    written = like(entry, NEW)
    assert type(written) is type(entry)
    assert_same_containers(written, container(*NEW))
    assert_same_containers(entry, container(*ENTRY))


@pytest.mark.parametrize(
    "entry",
    [None, 3.0, "ab", ENTRY.mean, {"mean": 0}, {"mean": 0, "var": 1, "count": 2}, [0], (0, 1, 2)],
    ids=str,
)
def test_what_is_no_container_of_these_is_not_read(entry):
    """Another kind, other names or another number of values: None, for an error of the caller."""
    assert read(entry, Statistics) is None


def test_a_mapping_keeps_its_type_and_what_else_it_holds(peer):
    """Dict, ordered and default dict, Flax's FrozenDict, a read-only view: all as they were."""
    frozen = peer("flax.core").FrozenDict
    makers = [
        dict,
        collections.OrderedDict,
        lambda d: collections.defaultdict(list, d),
        types.MappingProxyType,
        frozen,
    ]
    for make in makers:
        state = make({"b": 1, "a": 2, "c": 3})
        changed = like(state, {"a": 5})
        assert type(changed) is type(state)
        assert list(changed.items()) == [("b", 1), ("a", 5), ("c", 3)]
        assert state["a"] == 2
    assert like(collections.defaultdict(list, a=1), {"a": 2})["unknown"] == []
    entry = frozen({"mean": 1, "var": 2})
    nested = like(frozen({"stats": entry}), {"stats": like(entry, Statistics(3, 4))})
    assert jax.tree.structure(nested) == jax.tree.structure(frozen({"stats": entry}))


def test_a_mapping_that_cannot_be_made_from_a_dict_becomes_one():
    """A read-only mapping of a user's own, with another constructor."""

    class Fixed(collections.abc.Mapping):
        def __getitem__(self, key):
            return {"a": 1}[key]

        def __iter__(self):
            return iter(["a"])

        def __len__(self):
            return 1

    assert like(Fixed(), {"a": 2}) == {"a": 2}


LAYERS = {
    "batch": lambda: BatchNorm(3),
    "batch_warmup": lambda: BatchNorm(3, warmup=True),
    "batch_renorm": lambda: BatchRenorm(3, steps=1),
}
X = example(shape=(4, 5, 3))


def in_containers(state, container):
    """The statistics of a state in another container; what is no tuple stays."""
    return {
        key: container(*value) if isinstance(value, Statistics) else value
        for key, value in state.items()
    }


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_back_the_containers_of_its_state(name, container):
    """In both modes, by a call and by moments: the structure of the state is that of before."""
    container = CONTAINERS[container]
    layer, state = export_state(LAYERS[name]())
    restored = in_containers(state, container)
    moments = functional.moments(X, (0, 1))
    for training in (True, False):
        y, after = layer(X, restored, training=training)
        expected_y, expected = layer(X, state, training=training)
        assert_same_bits(y, expected_y)
        assert after.keys() == restored.keys()
        for key, entry in in_containers(expected, container).items():
            assert_same_containers(after[key], entry)
    after = layer.update_running(restored, moments)[layer.stats]
    expected = container(*layer.update_running(state, moments)[layer.stats])
    assert_same_containers(after, expected)
    stats = state[layer.stats]
    y, _ = functional.batch_norm(X, statistics=container(*stats))
    assert_same_bits(y, functional.batch_norm(X, statistics=stats)[0])


@pytest.mark.parametrize("container", SCANNED)
@pytest.mark.parametrize("name", ["batch_warmup", "batch_renorm"])
def test_a_restored_state_is_the_carry_of_a_scan(name, container):
    """The state of one call is that of the next, whatever the checkpoint made of the entries."""
    layer, state = export_state(LAYERS[name]())
    restored = in_containers(state, CONTAINERS[container])
    data = np.stack([example(seed, (4, 3)) for seed in range(3)])

    def body(state, x):
        y, state = layer(x, state)
        return state, y

    carry, y = jax.lax.scan(body, restored, data)
    expected, expected_y = jax.lax.scan(body, state, data)
    assert_same_bits(carry, in_containers(expected, CONTAINERS[container]))
    assert_same_bits(y, expected_y)


def test_the_whole_state_keeps_its_type(peer):
    """A FrozenDict, an ordered dict, a read-only view: each mode gives one back, never a dict."""
    frozen = peer("flax.core").FrozenDict
    layer, state = export_state(BatchNorm(3, warmup=True))
    expected = layer(X, state)[1]
    for make in (
        dict,
        frozen,
        collections.OrderedDict,
        types.MappingProxyType,
        lambda d: collections.defaultdict(list, d),
    ):
        given = make(dict(state))
        for training in (True, False):
            after = layer(X, given, training=training)[1]
            assert type(after) is type(given)
            assert after is not given
            assert list(after) == list(given)
            assert_same_bits(dict(after), dict(expected if training else state))
        moved = layer.update_running(given, functional.moments(X, (0, 1)))
        assert type(moved) is type(given)
    nested = frozen({layer.stats: state[layer.stats]._asdict(), layer.batches: jnp.zeros(3)})
    carry, _ = jax.lax.scan(lambda s, x: layer(x, s)[::-1], nested, X)
    assert jax.tree.structure(carry) == jax.tree.structure(nested)


@pytest.mark.parametrize("form", ["named", "dict", "list", "tuple"])
def test_pooled_moments_keep_their_container(form):
    """What `accumulate` pools may have been through a checkpoint, too."""
    layer, state = export_state(BatchNorm(3))
    pooling, pooled = calibration.accumulate(layer, state)
    (key,) = set(pooled) - set(state)
    convert = {"named": lambda v: v, "dict": lambda v: v._asdict(), "list": list, "tuple": tuple}
    restored = {**pooled, key: convert[form](pooled[key])}
    data = np.stack([example(seed, (4, 3)) for seed in range(3)])
    carry, _ = jax.lax.scan(lambda s, x: pooling(x, s)[::-1], restored, data)
    expected, _ = jax.lax.scan(lambda s, x: pooling(x, s)[::-1], pooled, data)
    assert_same_bits(carry, {**expected, key: convert[form](expected[key])})


def test_a_tuple_with_the_names_exchanged_is_read_by_name():
    """A user's own (var, mean) is no (mean, var): the output is that of the right one."""
    layer, _ = export_state(BatchNorm(3))
    stats = Statistics(jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 5.0, 6.0]))
    expected, _ = layer(X, {layer.stats: stats}, training=False)
    y, _ = layer(X, {layer.stats: Reversed(stats.var, stats.mean)}, training=False)
    assert_same_bits(y, expected)


class Wrapper(collections.abc.MutableMapping):
    """A mapping of another kind, whose shallow copy shares what it holds."""

    def __init__(self, held):
        self.held = dict(held)

    def __getitem__(self, key):
        return self.held[key]

    def __setitem__(self, key, value):
        self.held[key] = value

    def __delitem__(self, key):
        del self.held[key]

    def __iter__(self):
        return iter(self.held)

    def __len__(self):
        return len(self.held)


def test_a_state_of_another_kind_is_not_changed_in_place():
    """A wrapper around a dict comes back as a new one; what was handed in stays as it was."""
    layer, state = export_state(BatchNorm(3))
    wrapped = Wrapper(state)
    x = jnp.arange(12.0).reshape(4, 3)
    _, new = layer(x, wrapped)
    assert type(new) is Wrapper
    assert not np.asarray(wrapped[layer.stats].mean).any()
    assert np.asarray(new[layer.stats].mean).all()
