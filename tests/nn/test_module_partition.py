"""`partition` splits a module into its definition and dicts of arrays by path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, call, each_layer, example, standardize64

from inox.nn import BatchNorm, LayerNorm, Module, Parameter, RMSNorm, export_state


class Linear(Module):
    def __init__(self, kernel):
        self.kernel = Parameter(kernel)

    def __call__(self, x):
        return x @ self.kernel.value


class Network(Module):
    """Parameters in a list, in a dict and as an attribute, and one array that is not trained."""

    def __init__(self):
        self.layers = [LayerNorm(scale=jnp.full(4, 2.0), bias=jnp.ones(4)), Linear(jnp.eye(4))]
        self.heads = {"a": Linear(2 * jnp.eye(4)), "b": RMSNorm(scale=jnp.full(4, 3.0))}
        self.offset = jnp.arange(4.0)
        self.name = "network"

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.heads["b"](self.heads["a"](x)) + self.offset[None]


PARAMETERS = {
    ".layers[0].scale.value",
    ".layers[0].bias.value",
    ".layers[1].kernel.value",
    ".heads['a'].kernel.value",
    ".heads['b'].scale.value",
}


def test_without_filters_one_dict_holds_every_array():
    """`static, arrays = module.partition()`: a plain dict from path to the array itself."""
    network = Network()
    static, arrays = network.partition()
    assert type(arrays) is dict
    assert arrays.keys() == PARAMETERS | {".offset"}
    assert arrays[".layers[0].scale.value"] is network.layers[0].scale.value
    assert arrays[".offset"] is network.offset
    assert jax.tree.leaves(static) == []


def test_filter_by_type_takes_what_it_marks_and_the_last_dict_the_rest():
    """`partition(Parameter)` gives the trained arrays, then the others."""
    _, parameters, others = Network().partition(Parameter)
    assert parameters.keys() == PARAMETERS
    assert others.keys() == {".offset"}
    assert_same_bits(parameters[".heads['b'].scale.value"], jnp.full(4, 3.0))


def test_filter_by_callable_is_asked_about_every_node():
    """A callable is given each node from the module down to the arrays."""
    network = Network()
    _, matrices, others = network.partition(lambda node: getattr(node, "ndim", None) == 2)
    assert matrices.keys() == {".layers[1].kernel.value", ".heads['a'].kernel.value"}
    assert others.keys() == (PARAMETERS | {".offset"}) - matrices.keys()
    _, linear, _ = network.partition(lambda node: isinstance(node, Linear))
    assert linear.keys() == matrices.keys()


def test_first_filter_that_matches_from_the_root_wins():
    """A node nearer the root takes all below it; at one node the filter named first wins."""
    network = Network()
    _, parameters, norms, rest = network.partition(Parameter, LayerNorm)
    assert norms.keys() == {".layers[0].scale.value", ".layers[0].bias.value"}
    assert parameters.keys() == PARAMETERS - norms.keys()
    assert rest.keys() == {".offset"}
    _, first, second, rest = network.partition(lambda node: isinstance(node, LayerNorm), LayerNorm)
    assert first.keys() == norms.keys()
    assert second == {}
    assert rest.keys() == (PARAMETERS | {".offset"}) - norms.keys()
    _, everything, nothing, rest = network.partition(Module, Parameter)
    assert (len(everything), nothing, rest) == (6, {}, {})


def test_static_and_arrays_rebuild_the_module():
    """`static(*arrays)` gives the same structure, bits and answers, in any order of dicts."""
    network = Network()
    static, parameters, others = network.partition(Parameter)
    rebuilt = static(parameters, others)
    assert type(rebuilt) is Network
    assert rebuilt is not network
    assert rebuilt.name == "network"
    assert_same_bits(rebuilt, network)
    assert_same_bits(static(others, parameters), network)
    x = example(shape=(5, 4))
    np.testing.assert_array_equal(rebuilt(x), network(x))


@each_layer
def test_every_layer_round_trips(case):
    """Each layer comes back from its definition and arrays with the same answers."""
    layer, state = case.exported()
    static, parameters, others = layer.partition(Parameter)
    assert parameters.keys() == {f".{name}.value" for name in case.parameters}
    x = example()
    rebuilt = static(parameters, others)
    assert_same_bits(call(rebuilt, state, x), call(layer, state, x))
    changed = static({path: 2 * array for path, array in parameters.items()}, others)
    factor = 2 if parameters else 1
    assert_close(call(changed, state, x)[0], factor * case.expected(x))


def test_arrays_can_be_differentiated_while_the_definition_is_static():
    """The gradient by the dict of parameters, with the definition closed over."""
    network = Network()
    static, parameters, others = network.partition(Parameter)
    x, weight = example(shape=(5, 4)), example(1, shape=(5, 4))
    traces = []

    @jax.jit
    def gradient(parameters):
        traces.append(None)
        return jax.grad(lambda arrays: jnp.sum(static(arrays, others)(x) * weight))(parameters)

    slopes = gradient(parameters)
    gradient(jax.tree.map(lambda array: array + 1, parameters))
    assert len(traces) == 1
    assert slopes.keys() == parameters.keys()
    # The last layer: y = 3 u / sqrt(mean(u²) + epsilon) + offset with u = 2 (2 xhat + 1).
    inner = 2 * (2 * standardize64(x, -1, 1e-5) + 1)
    unit = inner / np.sqrt((inner**2).mean(-1, keepdims=True) + 1e-6)
    assert_close(slopes[".heads['b'].scale.value"], (unit * weight).sum(0), 32)
    assert hash(static) == hash(Network().partition()[0])
    assert static == Network().partition()[0]


def test_definition_passes_through_jit_as_static_argument():
    """The definition is hashable and comparable, so `static_argnums` takes it, with one trace."""
    traces = []

    def apply(static, arrays, x):
        traces.append(None)
        return static(arrays)(x)

    jitted = jax.jit(apply, static_argnums=0)
    x = example(shape=(5, 4))
    for _ in range(2):
        static, arrays = Network().partition()
        np.testing.assert_allclose(jitted(static, arrays, x), Network()(x), rtol=1e-5, atol=1e-5)
    assert len(traces) == 1


def test_state_free_batch_norm_model_partitions_after_export():
    """After `export_state` the running statistics are in the state alone, not among the arrays."""
    layer, state = export_state(BatchNorm(4, scale=jnp.ones(4), bias=jnp.zeros(4)))
    static, arrays = layer.partition()
    assert arrays.keys() == {".scale.value", ".bias.value"}
    x = example()
    assert_same_bits(static(arrays)(x, state), layer(x, state))


def test_missing_arrays_are_refused():
    """Rebuilding without an array of the definition raises an error that names its path."""
    static, parameters, others = Network().partition(Parameter)
    del parameters[".layers[1].kernel.value"]
    with pytest.raises((ValueError, KeyError), match=r"\.layers\[1\]\.kernel\.value"):
        static(parameters, others)


def test_arrays_of_another_module_are_refused():
    """An array whose path the definition does not know raises an error that names it."""
    static, arrays = Network().partition()
    with pytest.raises((ValueError, KeyError), match=r"\.unknown"):
        static({**arrays, ".unknown": jnp.ones(3)})
