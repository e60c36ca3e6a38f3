"""Programs that take and give modules and states, stored by `jax.export` and read elsewhere."""

import os
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_same_bits, call, each_layer, example

from inox import calibration, functional
from inox.nn import BatchNorm, LayerNorm, Module, ModuleDefinition, Parameter, export_state


def stored(function, *arguments):
    """A compiled function, stored and read again in this process."""
    return jax.export.deserialize(jax.export.export(jax.jit(function))(*arguments).serialize())


NETWORK = """
import jax.numpy as jnp, numpy as np
from inox.nn import BatchNorm, LayerNorm, Module, Parameter, export_state

class Network(Module):
    def __init__(self):
        self.layers = [BatchNorm(3, scale=jnp.full(3, 2.0)), LayerNorm(), "static", None]
        self.options = {"power": 2, "names": ["a", ("b", 1.5)]}
        self.weight = Parameter(jnp.eye(3))
        self.dtype, self.infinite = jnp.float32, float("inf")

    def __call__(self, x, state):
        y, state = self.layers[0](x @ self.weight(), state)
        return self.layers[1](y).astype(self.dtype) ** self.options["power"], state

network, state = export_state(Network())
x = np.arange(12, dtype=np.float32).reshape(4, 3) ** 2
static, parameters, rest = network.partition(Parameter)

def step(model, state, x):
    y, state = model(x, state)
    return y, state, model

def by_definition(static, parameters, state, x):
    return static(parameters, rest)(x, state)[0]
"""
WRITER = """
import pathlib, jax, jax.export
from network import *

step_file, definition_file = map(pathlib.Path, ("step.bin", "definition.bin"))
exported = jax.export.export(jax.jit(step))(network, state, x)
step_file.write_bytes(exported.serialize())
exported = jax.export.export(jax.jit(by_definition))(static, parameters, state, x)
definition_file.write_bytes(exported.serialize())
# Of one program, as the stored ones are: operation by operation small results round otherwise.
np.save("expected.npy", jax.jit(step)(network, state, x)[0])
"""
READER = """
import pathlib, jax, jax.export
import inox
from network import *

expected = np.load("expected.npy")
exported = jax.export.deserialize(pathlib.Path("step.bin").read_bytes())
assert exported.in_tree == jax.tree.structure(((network, state, x), {}))
y, new, model = exported.call(network, state, x)
np.testing.assert_allclose(y, expected, rtol=1e-6)
np.testing.assert_allclose(new[network.layers[0].stats].mean, x.mean(0) / 10, rtol=1e-6)
assert jax.tree.structure(model) == jax.tree.structure(network)
assert model.options == {"power": 2, "names": ["a", ("b", 1.5)]}
assert model.layers[2:] == ["static", None]
exported = jax.export.deserialize(pathlib.Path("definition.bin").read_bytes())
np.testing.assert_allclose(exported.call(static, parameters, state, x), expected, rtol=1e-6)
network.train(False)
try:
    jax.export.deserialize(pathlib.Path("step.bin").read_bytes()).call(network, state, x)
except ValueError:
    print("done")
"""


def test_round_trip_into_a_fresh_process(tmp_path):
    """A step that takes and gives a model and its state runs in a process that imports `inox`."""
    (tmp_path / "network.py").write_text(NETWORK, encoding="utf-8")
    for program in (WRITER, READER):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"


@each_layer
def test_every_layer_can_be_an_argument_and_a_result(case):
    """A layer and its state go in and come out of a stored program with their structure."""
    layer, state = case.exported()
    x = example()
    exported = stored(lambda layer, state, x: (layer, call(layer, state, x)), layer, state, x)
    assert exported.in_tree == jax.tree.structure(((layer, state, x), {}))
    again, (y, new) = exported.call(layer, state, x)
    expected, expected_state = jax.jit(call)(layer, state, x)
    assert_same_bits(again, layer)
    assert_same_bits((y, new), (expected, expected_state))


def test_entries_moments_and_pooled_moments_travel():
    """A layer before its export, moments, and a state that pools are arguments and results."""
    layer = BatchNorm(3)
    entry = stored(lambda layer: layer.stats.value.var, layer).call(layer)
    np.testing.assert_array_equal(entry, np.ones(3))
    x = example(shape=(8, 3))
    moments = stored(lambda x: functional.moments(x, 0), x).call(x)
    assert type(moments) is type(functional.moments(x, 0))
    np.testing.assert_allclose(moments.mean, x.mean(0, dtype=np.float64), rtol=1e-5)
    pooling, state = calibration.accumulate(*export_state(layer))
    expected = pooling(x, state)
    found = stored(lambda layer, state, x: layer(x, state), pooling, state, x).call(
        pooling, state, x
    )
    assert jax.tree.structure(found) == jax.tree.structure(expected)


VALUES = (
    None,
    True,
    3,
    -0.0,
    float("-inf"),
    float("nan"),
    1e-5,
    "text",
    "ü",
    b"\x00\xff",
    1 - 2j,
    (1, (2.0, None), ()),
    jnp.float32,
    jnp.bfloat16,
    np.int8,
    np.dtype("float64"),
    jnp.dtype("bfloat16"),
)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_static_values_come_back_as_they_were(value):
    """Value and type are kept, in an attribute and among the items of a list and a dict."""
    module = Module(value=value, items=[value, jnp.ones(1)], table={"a": value, "b": [value]})
    exported = stored(lambda module: module, module)
    assert exported.in_tree == jax.tree.structure(((module,), {}))
    again = exported.call(module)
    for found in (again.value, again.items[0], again.table["a"], again.table["b"][0]):
        assert type(found) is type(value)
        assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (Module(activation=jax.nn.relu, x=jnp.ones(1)), "activation of Module"),
        (Module(names=frozenset({"a"}), x=jnp.ones(1)), "names of Module"),
        (Module(deep=Module(items=[lambda x: x, jnp.ones(1)])), "an item of items"),
        (Module(axes=("a", object())), "an item of axes"),
    ],
)
def test_other_static_values_are_refused_by_name(module, named):
    """A function can't be stored without pickle: the error names the attribute and the cure."""
    exported = jax.export.export(jax.jit(lambda module: 0))(module)
    with pytest.raises(TypeError, match=rf"{named} is .*close over the module") as caught:
        exported.serialize()
    assert "look up" in str(caught.value)
    inside = stored(lambda: sum(leaf.sum() for leaf in jax.tree.leaves(module)))
    assert float(inside.call()) == sum(leaf.size for leaf in jax.tree.leaves(module))


def local_class():
    class Local(Module):
        """A module of a function, defined again at each call."""

        def __init__(self):
            self.weight = Parameter(jnp.ones(2))

    return Local


def test_a_class_defined_again_can_be_stored():
    """A second class of the same name, as in a notebook, is no error; the newest is read."""
    first, second = local_class(), local_class()
    text = jax.export.export(jax.jit(lambda m: m))(first()).serialize()
    assert type(stored(lambda m: m, second()).call(second())) is second
    exported = jax.export.deserialize(text)
    assert exported.in_tree == jax.tree.structure(((second(),), {}))
    np.testing.assert_array_equal(exported.call(second()).weight(), [1, 1])


def test_definition_of_a_module_with_other_nodes_is_refused():
    """A definition holds a whole tree: the error names the class that can't be stored."""
    static, arrays = Module(part=jax.tree_util.Partial(jnp.add, jnp.ones(1))).partition()
    assert isinstance(static, ModuleDefinition)
    exported = jax.export.export(jax.jit(lambda static, arrays: 0))(static, arrays)
    with pytest.raises(TypeError, match=r"holds a Partial, .* Hand the module itself over"):
        exported.serialize()


def test_users_parameters_travel():
    """A user's own kind of parameter is stored by its name as the package's is."""

    class Scale(Parameter):
        pass

    module = Module(scale=Scale(jnp.ones(2)), norm=LayerNorm())
    again = stored(lambda module: module, module).call(module)
    assert type(again.scale) is Scale
    assert_same_bits(again, module)


RELOADER = """
import importlib, sys
import inox.nn, jax, jax.export, jax.numpy as jnp

importlib.reload(inox.nn)
for prefix in ("inox.nn", "inox"):
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]
    import inox.nn as nn
layer, state = nn.export_state(nn.BatchNorm(2))
x = jnp.arange(8.0).reshape(4, 2)
exported = jax.export.export(jax.jit(lambda *a: a[0](*a[1:])))(layer, x, state)
y, _ = jax.export.deserialize(exported.serialize()).call(layer, x, state)
print(abs(y.mean(0)).max() < 1e-6)
"""


def test_the_package_can_be_loaded_again():
    """A second import and `importlib.reload`, as in notebooks, meet what is registered already."""
    done = subprocess.run(
        [sys.executable, "-c", RELOADER],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
