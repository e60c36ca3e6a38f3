"""A state goes out in the containers in which it came: the whole of it, and each entry."""

import collections
import collections.abc
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from layer_cases import assert_same_bits

from inox.nn import Statistics
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
    "list": lambda mean, var: [mean, var],
    "tuple": lambda mean, var: (mean, var),
    "tuple_in_another_order": lambda mean, var: Reversed(var, mean),
    "tuple_of_other_names": lambda mean, var: Renamed(mean, var),
}


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
    assert list(written) == list(container(*NEW)) if isinstance(entry, dict) else True
    assert_same_bits(written, container(*NEW))
    assert_same_bits(entry, container(*ENTRY))


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
