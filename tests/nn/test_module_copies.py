"""What is an attribute, and what a copy of a module keeps of what its attributes are."""

import copy
import dataclasses
import functools
import pickle
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.nn import BatchNorm, LayerNorm, Module, Parameter


class Network(Module):
    """Leaves as attributes, in a list beside static items, in a list alone and in parameters."""

    def __init__(self):
        self.weight = jnp.arange(3.0)
        self.items = ["static", jnp.ones(2), None]
        self.arrays = [jnp.zeros(1), jnp.zeros(2)]
        self.rate = 0.5
        self.norm = LayerNorm(epsilon=jnp.float32(1e-5), scale=jnp.ones(3))

    @functools.cached_property
    def total(self):
        return self.weight.sum()


def test_cached_property_is_no_attribute():
    """What a `functools.cached_property` keeps is no leaf, and does not travel with a tree."""
    network = Network()
    assert float(network.total) == 3.0
    assert jax.tree.structure(network) == jax.tree.structure(Network())
    assert [name for name, _ in network.attributes()] == [
        "arrays",
        "items",
        "norm",
        "rate",
        "weight",
    ]
    assert "total" not in repr(network)
    doubled = jax.jit(lambda network: jax.tree.map(lambda leaf: 2 * leaf, network))(network)
    assert float(doubled.total) == 6.0
    assert float(copy.deepcopy(doubled).total) == 6.0


def test_what_is_written_past_assignment_is_an_attribute():
    """`object.__setattr__` and `vars` write what assignment would have: none goes missing."""
    network = Network()
    jax.tree.leaves(network)
    object.__setattr__(network, "extra", Parameter(jnp.ones(1)))
    vars(network)["mode"] = "fast"
    expected = Network()
    expected.extra, expected.mode = Parameter(jnp.ones(1)), "fast"
    assert jax.tree.structure(network) == jax.tree.structure(expected)
    travelled = jax.tree.map(lambda leaf: leaf, network)
    vars(travelled)["table"] = {"a": jnp.ones(1)}
    assert len(jax.tree.leaves(travelled)) == len(jax.tree.leaves(expected)) + 1
    for module in (network, travelled):
        leaves = len(jax.tree.leaves(module))
        del vars(module)["weight"]
        assert len(jax.tree.leaves(module)) == leaves - 1
        assert "weight" not in repr(module)


def test_a_state_of_the_users_own_may_be_a_part_of_ours():
    """`__getstate__` may leave out a part, and `__setstate__` may be `dict.update`."""

    class Partly(Network):
        def __getstate__(self):
            state = dict(super().__getstate__())
            state.pop("items")
            return state

    class Plainly(Network):
        def __setstate__(self, state):
            self.__dict__.update(state)

    assert not hasattr(copy.copy(Partly()), "items")
    copied = copy.copy(Plainly())
    assert len(jax.tree.leaves(copied)) == len(jax.tree.leaves(Network()))


def test_a_deep_copy_keeps_the_functions_of_its_configuration():
    """A copy of `jax.nn.relu` would be another function, and the copy of a network another tree."""
    network = Module(f=jax.nn.relu, inside=[jnp.tanh, jnp.ones(1)], w=jnp.ones(2))
    summed = jax.tree.map(jnp.add, network, copy.deepcopy(network))
    assert summed.w.tolist() == [2.0, 2.0]


def test_slots_are_refused():
    """What a slot holds is in no tree: parameters there would never be trained."""
    with pytest.raises(TypeError, match=r"__slots__.*slots=True"):

        @dataclasses.dataclass(slots=True)
        class Slotted(Module):
            weight: jax.Array


def test_a_frozen_dataclass_has_its_fields():
    """The fields of a frozen dataclass, which sets them past assignment, are attributes."""

    @dataclasses.dataclass(frozen=True)
    class Scaled(Module):
        scale: jax.Array
        power: int = 2

        def __call__(self, x):
            return self.scale * x**self.power

    layer = Scaled(jnp.float32(3.0))
    slope = jax.jit(jax.grad(lambda layer: layer(2.0)))(layer)
    assert (float(slope.scale), slope.power) == (4.0, 2)
    cubic = dataclasses.replace(layer, power=3)
    assert jax.tree.structure(cubic) != jax.tree.structure(layer)
    assert float(jax.jit(lambda layer: layer(2.0))(cubic)) == 24.0


class Plain:
    def __init__(self):
        self.from_plain = 1


class Mixed(Plain, Module, Generic[TypeVar("T")]):
    """A module with another base, a property with a setter and attributes looked up elsewhere."""

    def __init__(self):
        super().__init__()
        self.inner = Module(weight=jnp.ones(2), size=3)
        self.rate = jnp.float32(1)

    @property
    def rate(self):
        return self._rate

    @rate.setter
    def rate(self, value):
        self._rate = value

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_classes_of_other_makes_are_modules():
    """Other bases, properties and `__getattr__` change nothing about the tree and its copies."""
    for journey in COPIES.values():
        for module in (Mixed(), journey(Mixed()), jax.tree.map(lambda leaf: leaf, Mixed())):
            leaves = jax.tree_util.tree_leaves_with_path(module)
            paths = [jax.tree_util.keystr(path) for path, _ in leaves]
            assert paths == ["._rate", ".inner.weight"]
            assert (module.size, module.from_plain, float(module.rate)) == (3, 1, 1.0)
    module.rate = 2.0
    assert [name for name, _ in module.attributes()] == ["_rate", "from_plain", "inner"]
    assert len(jax.tree.leaves(module)) == 1

    class Empty(Module):
        def __init__(self):
            pass

    for empty in (Empty(), copy.copy(Empty()), jax.tree.map(lambda leaf: leaf, Empty())):
        assert jax.tree.leaves(empty) == []
        assert jax.tree.structure(empty) == jax.tree.structure(Empty())


FILLS = {
    "arrays": lambda leaf: leaf,
    "booleans": lambda leaf: True,
    "none": lambda leaf: None,
    "strings": lambda leaf: "label",
    "trees": lambda leaf: (leaf, "label"),
    "partition_specs": lambda leaf: jax.P("devices"),
}
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "twice": lambda module: copy.copy(pickle.loads(pickle.dumps(module))),
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("journey", COPIES)
def test_copies_keep_which_leaves_are_static(fill, journey):
    """A copy of a tree of booleans, None or labels has the leaves and structure of that tree."""
    network = Network()
    filled = jax.tree.map(FILLS[fill], network)
    twin = COPIES[journey](filled)
    assert jax.tree.structure(twin) == jax.tree.structure(filled)
    assert str(jax.tree.leaves(twin)) == str(jax.tree.leaves(filled))
    assert (twin.items[0], twin.items[2], twin.rate) == ("static", None, 0.5)
    refilled = jax.tree.map(lambda leaf, _: leaf, network, twin, is_leaf=lambda n: n is None)
    np.testing.assert_array_equal(refilled.weight, [0, 1, 2])


def test_copies_follow_later_changes_as_the_original_does():
    """A copy's list may grow, an attribute be set or go, without touching the original."""
    for journey in COPIES.values():
        network = Network()
        twin = journey(network)
        twin.items = [*twin.items, jnp.ones(5), "more"]
        twin.arrays = twin.arrays[:1]
        twin.rate = jnp.float32(1)
        del twin.weight
        assert [leaf.shape for leaf in jax.tree.leaves(twin)] == [(1,), (2,), (5,), (), (3,), ()]
        assert jax.tree.structure(network) == jax.tree.structure(Network())


def test_shallow_copy_shares_its_containers():
    """`copy.copy` shares what the attributes hold, as it does for any object."""
    network = Network()
    twin = copy.copy(network)
    assert twin.items is network.items
    assert twin.norm is network.norm
    twin.rate = 2.0
    assert network.rate == 0.5


def test_switching_a_mask_leaves_its_leaves():
    """A tree of booleans whose mode is switched still is a tree of booleans."""
    layer = BatchNorm(3, epsilon=jnp.float32(1e-5), scale=jnp.ones(3))
    mask = jax.tree.map(lambda _: True, layer)
    mask.train(False)
    layer.train(False)
    assert jax.tree.structure(mask) == jax.tree.structure(layer)
    assert jax.tree.leaves(mask) == [True] * 4


class Custom(Module):
    """A module that says itself what of it is stored."""

    def __init__(self):
        self.weight = Parameter(jnp.ones(2))

    def __getstate__(self):
        return {"weight": self.weight, "restored": True}


def test_a_state_of_the_users_own_is_assigned():
    """The dict that a class's own `__getstate__` gives becomes the attributes of the copy."""
    twin = copy.deepcopy(Custom())
    assert twin.restored is True
    assert len(jax.tree.leaves(twin)) == 1
