"""What a module may hold, and how it behaves when its attributes change."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, example, standardize64

from inox.nn import BatchNorm, LayerNorm, Module, Parameter, export_state


def double(x):
    return 2 * x


class Zoo(Module):
    """Attributes of every kind that a model's author would think of."""

    def __init__(self):
        self.array = jnp.arange(3.0)
        self.numpy_array = np.arange(2.0, dtype=np.float32)
        self.parameter = Parameter(jnp.ones(2))
        self.number = 3
        self.ratio = 0.5
        self.flag = True
        self.text = "text"
        self.nothing = None
        self.function = double
        self.dtype = jnp.float32
        self.axes = (0, -1)
        self.items = [LayerNorm(scale=jnp.ones(4)), "between", 7, None, jnp.zeros(1)]
        self.pair = (Parameter(jnp.full(1, 5.0)), double)
        self.table = {"b": LayerNorm(), "a": {"deep": jnp.full(2, 7.0)}, "label": "x"}
        self.nested = Module(inner=Module(array=jnp.full(1, 9.0), size=2))


ARRAYS = {
    ".array",
    ".numpy_array",
    ".parameter.value",
    ".items[0].scale.value",
    ".items[4]",
    ".pair[0].value",
    ".table['a']['deep']",
    ".nested.inner.array",
}


def test_arrays_are_leaves_and_all_else_is_static():
    """Only arrays are leaves, wherever they lie; the rest is part of the structure."""
    paths = jax.tree_util.tree_leaves_with_path(Zoo())
    assert {jax.tree_util.keystr(path) for path, _ in paths} == ARRAYS
    assert jax.tree.structure(Zoo()) == jax.tree.structure(Zoo())


def test_static_attributes_survive_every_journey():
    """Through `jax.tree.map`, `jax.jit` and `pickle` each static attribute keeps value and type."""
    for journey in (
        lambda zoo: jax.tree.map(lambda leaf: leaf + 1, zoo),
        lambda zoo: jax.jit(lambda zoo: jax.tree.map(lambda leaf: leaf + 1, zoo))(zoo),
        lambda zoo: jax.tree.map(lambda leaf: leaf + 1, pickle.loads(pickle.dumps(zoo))),
    ):
        zoo = journey(Zoo())
        assert (zoo.number, zoo.ratio, zoo.flag, zoo.text, zoo.nothing) == (
            3,
            0.5,
            True,
            "text",
            None,
        )
        assert type(zoo.number) is int
        assert type(zoo.flag) is bool
        assert zoo.function is double
        assert zoo.dtype == jnp.float32
        assert zoo.axes == (0, -1)
        assert zoo.items[1:4] == ["between", 7, None]
        assert type(zoo.items) is list
        assert type(zoo.pair) is tuple
        assert zoo.pair[1] is double
        assert zoo.table["label"] == "x"
        assert zoo.table.keys() == {"a", "b", "label"}
        assert zoo.nested.inner.size == 2
        np.testing.assert_array_equal(zoo.array, [1, 2, 3])
        np.testing.assert_array_equal(zoo.nested.inner.array, [10])
        np.testing.assert_array_equal(zoo.table["a"]["deep"], [8, 8])
        np.testing.assert_array_equal(zoo.pair[0].value, [6])


def test_module_takes_keywords_as_attributes():
    """`Module(**kwargs)` makes each keyword an attribute, without a subclass."""
    module = Module(norm=LayerNorm(scale=jnp.full(4, 2.0)), width=4)
    assert module.width == 4
    x = example()
    assert_close(module.norm(x), 2 * standardize64(x, -1, 1e-5))
    assert list(module.partition()[1]) == [".norm.scale.value"]
    assert jax.tree.leaves(Module()) == []


def test_attributes_assigned_after_construction_count():
    """Leaves, structure and answers follow an attribute that is set or replaced later."""
    module = Module(norm=LayerNorm(scale=jnp.ones(4)))
    before = jax.tree.structure(module)
    module.shift = jnp.full(4, 5.0)
    assert module.partition()[1].keys() == {".norm.scale.value", ".shift"}
    assert jax.tree.structure(module) != before
    module.norm.scale.value = jnp.full(4, 3.0)
    x = example()
    assert_close(
        jax.jit(lambda module, x: module.norm(x))(module, x), 3 * standardize64(x, -1, 1e-5)
    )
    module.norm = None
    assert module.partition()[1].keys() == {".shift"}
    del module.shift
    assert jax.tree.leaves(module) == []


def test_static_attribute_can_become_an_array_and_back():
    """Whether an attribute is static follows from what it holds now."""
    module = Module(value=1.0)
    assert jax.tree.leaves(module) == []
    module.value = jnp.float32(2.0)
    assert [float(leaf) for leaf in jax.tree.leaves(module)] == [2.0]
    module.value = 3.0
    assert jax.tree.leaves(module) == []
    assert jax.tree.map(lambda leaf: leaf, module).value == 3.0


def test_layers_appended_to_a_list_count():
    """A list attribute may grow and shrink after construction, before and after a JAX journey."""
    module = Module(layers=[LayerNorm(scale=jnp.ones(4))])
    module.layers.append(LayerNorm(scale=jnp.full(4, 2.0)))
    assert module.partition()[1].keys() == {".layers[0].scale.value", ".layers[1].scale.value"}
    copied = jax.tree.map(lambda leaf: leaf, module)
    copied.layers.append(jnp.ones(1))
    assert len(jax.tree.leaves(copied)) == 3
    assert len(jax.tree.leaves(module)) == 2
    copied.layers.append("static")
    again = jax.tree.map(lambda leaf: leaf, copied)
    assert again.layers[3] == "static"
    del module.layers[0]
    x = example()
    assert_close(module.layers[0](x), 2 * standardize64(x, -1, 1e-5))
    assert module.partition()[1].keys() == {".layers[0].scale.value"}


def test_items_replaced_in_a_list_count():
    """After a JAX journey too, an item of a list may be replaced by one of another kind."""
    module = jax.tree.map(lambda leaf: leaf, Module(items=["static", jnp.ones(1), LayerNorm()]))
    module.items[0] = LayerNorm(scale=jnp.full(4, 2.0))
    module.items[2] = jnp.zeros(2)
    expected = {".items[0].scale.value", ".items[1]", ".items[2]"}
    assert module.partition()[1].keys() == expected
    module = jax.tree.map(lambda leaf: leaf, module)
    assert module.partition()[1].keys() == expected
    module.items[0] = {"deep": jnp.ones(3)}
    assert module.partition()[1].keys() == {".items[0]['deep']", ".items[1]", ".items[2]"}


def test_train_reaches_through_every_container():
    """`train(False)` reaches layers in lists, tuples, dicts and nested modules, and those alone."""
    zoo = Zoo()
    zoo.pair = (BatchNorm(4), [BatchNorm(4)])
    zoo.items[0] = BatchNorm(4)
    zoo.table["b"] = BatchNorm(4)
    zoo.nested.inner.norm = BatchNorm(4)
    layers = [
        zoo.items[0],
        zoo.table["b"],
        zoo.nested.inner.norm,
        zoo.pair[0],
        zoo.pair[1][0],
    ]
    zoo.train(False)
    assert [layer.training for layer in layers] == [False] * 5
    assert zoo.train(True) is None
    assert [layer.training for layer in layers] == [True] * 5
    zoo.pair[0].train(False)
    assert zoo.pair[0].training is False
    assert zoo.pair[1][0].training is True
    zoo.train()
    assert zoo.pair[0].training is True


class Residual(Module):
    """A user's own layer with configuration, a norm and a method beside the call."""

    kind = "residual"

    def __init__(self, channels: int, gain: float = 0.5):
        self.gain = gain
        self.norm = BatchNorm(channels)

    def __call__(self, x, state):
        y, state = self.norm(x, state)
        return self.mix(x, y), state

    def mix(self, x, y):
        return x + self.gain * y


class DeepResidual(Residual):
    """A subclass of a user's layer that adds to its parent's attributes."""

    def __init__(self, channels: int):
        super().__init__(channels, gain=2.0)
        self.scale = Parameter(jnp.full(channels, 3.0))

    def __call__(self, x, state):
        y, state = super().__call__(x, state)
        return y * self.scale.value[None], state


@pytest.mark.parametrize("kind", [Residual, DeepResidual])
def test_subclasses_with_init_are_pytrees(kind):
    """A subclass needs no decorator to be jitted, differentiated and rebuilt."""
    model, state = export_state(kind(4))
    x = example(shape=(6, 4))
    y, updated = jax.jit(lambda model, x, state: model(x, state))(model, x, state)
    normalized = standardize64(x, 0, 1e-5)
    expected = x + 0.5 * normalized if kind is Residual else 3 * (x + 2 * normalized)
    assert_close(y, expected, 16)
    assert_close(updated[model.norm.stats].mean, x.astype(np.float64).mean(0) / 10)
    assert model.kind == "residual"
    rebuilt = jax.tree.map(lambda leaf: leaf, model)
    assert type(rebuilt) is kind
    assert_same_bits(rebuilt(x, state), model(x, state))
    if kind is DeepResidual:
        slope = jax.grad(lambda model: jnp.sum(model(x, state)[0]))(model)
        assert_close(slope.scale.value, (x + 2 * normalized).sum(0), 64)


def test_modules_are_not_confused_by_equal_names():
    """Two classes with the same attributes have different structures."""

    class One(Module):
        pass

    class Two(Module):
        pass

    assert jax.tree.structure(One(a=jnp.ones(1))) != jax.tree.structure(Two(a=jnp.ones(1)))


def test_attributes_may_be_called_as_methods_are():
    """An attribute that hides a method of the base class leaves the tree, its text and modes."""
    module = Module(attributes=[BatchNorm(4)], children=BatchNorm(4), partition=jnp.ones(1))
    module.train(False)
    assert (module.attributes[0].training, module.children.training) == (False, False)
    assert "partition=float32[1]" in repr(module)
    _, state = export_state(module)
    assert set(state) == {".attributes[0].stats", ".children.stats"}
    assert jax.tree.structure(copy.deepcopy(module)) == jax.tree.structure(module)


def test_order_of_assignment_does_not_matter():
    """Attributes set in another order, or one after the others, give the same structure."""
    first = Module(a=jnp.ones(1), b=2, c=[jnp.ones(2), "x"])
    last = Module(c=[jnp.ones(2), "x"])
    last.b = 3
    jax.tree.flatten(last)
    last.a = jnp.ones(1)
    last.b = 2
    assert jax.tree.structure(first) == jax.tree.structure(last)
    assert [leaf.shape for leaf in jax.tree.leaves(last)] == [(1,), (2,)]


@pytest.mark.parametrize("travelled", [False, True])
def test_containers_changed_in_place_are_seen(travelled):
    """Dicts, nested lists and lists of arrays may change at any depth between two flattenings."""
    module = Module(
        table={"a": jnp.ones(1), "deep": [jnp.ones(2), {"b": LayerNorm(scale=jnp.ones(3))}]},
        arrays=[jnp.ones(4), jnp.ones(5)],
        pair=([jnp.ones(6)], "static"),
    )
    if travelled:
        module = jax.tree.map(lambda leaf: leaf, module)

    def sizes():
        return sorted(leaf.size for leaf in jax.tree.leaves(module))

    assert sizes() == [1, 2, 3, 4, 5, 6]
    module.table["c"] = jnp.ones(10)
    module.table["deep"][1]["d"] = LayerNorm(scale=jnp.ones(20))
    module.arrays.append(jnp.ones(30))
    module.pair[0].append("more")
    assert sizes() == [1, 2, 3, 4, 5, 6, 10, 20, 30]
    del module.table["a"], module.arrays[0]
    module.table["deep"][0] = LayerNorm(scale=jnp.ones(40), bias=jnp.ones(50))
    module.pair[0][0] = np.ones(60)
    assert sizes() == [3, 5, 10, 20, 30, 40, 50, 60]
    again = jax.jit(lambda module: jax.tree.map(lambda leaf: leaf, module))(module)
    assert again.pair[1] == "static"
    assert again.pair[0][1] == "more"
    assert jax.tree.structure(again) == jax.tree.structure(module)
