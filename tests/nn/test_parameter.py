"""`Parameter` marks an array as trained."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_same_bits

from inox.nn import LayerNorm, Module, Parameter


def test_value_and_call_give_the_array():
    """`.value` is the array handed in, and calling the parameter gives it too."""
    array = jnp.arange(3.0)
    parameter = Parameter(array)
    assert parameter.value is array
    assert parameter() is array


def test_value_can_be_replaced():
    """Assigning `.value` changes what the call and the leaves give."""
    parameter = Parameter(jnp.zeros(2))
    parameter.value = jnp.ones(2)
    np.testing.assert_array_equal(parameter(), [1, 1])
    np.testing.assert_array_equal(jax.tree.leaves(parameter)[0], [1, 1])


def test_parameter_is_a_pytree_of_one_leaf():
    """Its leaf lies at `.value`; `jax.grad` by a parameter gives a parameter."""
    parameter = Parameter(jnp.arange(1.0, 4.0))
    ((path, leaf),) = jax.tree_util.tree_leaves_with_path(parameter)
    assert jax.tree_util.keystr(path) == ".value"
    assert leaf is parameter.value
    gradient = jax.jit(jax.grad(lambda parameter: jnp.sum(parameter() ** 3)))(parameter)
    assert type(gradient) is Parameter
    np.testing.assert_array_equal(gradient.value, [3, 12, 27])


def test_structure_does_not_depend_on_the_leaf():
    """Booleans, strings and None in the array's place keep the structure."""
    parameter = Parameter(jnp.ones(2))
    for fill in (True, "label", 3):
        assert jax.tree.structure(
            jax.tree.map(lambda _, f=fill: f, parameter)
        ) == jax.tree.structure(parameter)
    empty = jax.tree.map(lambda _: None, parameter)
    assert jax.tree.leaves(empty) == []
    assert jax.tree.structure(empty, is_leaf=lambda n: n is None) == jax.tree.structure(parameter)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_are_independent(copier):
    """A copy holds the same bits, and changing it leaves the original alone."""
    parameter = Parameter(jnp.arange(3.0))
    twin = copier(parameter)
    assert_same_bits(twin, parameter)
    twin.value = jnp.zeros(1)
    np.testing.assert_array_equal(parameter.value, [0, 1, 2])


def test_layers_wrap_scale_and_bias():
    """The arrays handed to a layer become parameters; a parameter is taken as it is."""
    scale, bias = jnp.ones(4), jnp.zeros(4)
    layer = LayerNorm(scale=scale, bias=bias)
    assert type(layer.scale) is Parameter
    assert type(layer.bias) is Parameter
    assert layer.scale() is scale
    assert layer.bias() is bias
    shared = Parameter(scale)
    assert LayerNorm(scale=shared).scale is shared


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_layers_keep_the_parameters_dtype(dtype):
    """A parameter keeps the dtype it was given, and the output keeps that of the input."""
    layer = LayerNorm(scale=jnp.full(4, 2, dtype))
    assert layer.scale().dtype == dtype
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4)), jnp.float32)
    y = layer(x)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, 2 * LayerNorm()(x), rtol=1e-6)


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_array_assigned_to_a_layers_scale_becomes_a_parameter(make):
    """`layer.scale = array` trains as the constructor's does, also where there was none before."""
    for layer in (LayerNorm(scale=jnp.ones(4)), LayerNorm()):
        layer.scale = make(np.full(4, 3.0, np.float32))
        layer.bias = make(np.full(4, 1.0, np.float32))
        assert type(layer.scale) is type(layer.bias) is Parameter
        built = LayerNorm(scale=jnp.ones(4), bias=jnp.ones(4))
        assert jax.tree.structure(layer) == jax.tree.structure(built)
        assert set(layer.partition(Parameter)[1]) == {".scale.value", ".bias.value"}
        x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
        np.testing.assert_allclose(layer(x), 3 * LayerNorm()(x) + 1, rtol=1e-6, atol=1e-6)
        layer.bias = None
        assert jax.tree.structure(layer) == jax.tree.structure(LayerNorm(scale=jnp.ones(4)))


def test_scale_of_a_wrong_kind_is_refused_when_assigned():
    """The error names the argument; the layer stays as it was."""
    layer = LayerNorm(scale=jnp.ones(4))
    for wrong in (jnp.ones(4, complex), "ones"):
        with pytest.raises((TypeError, ValueError), match="scale"):
            layer.scale = wrong
        np.testing.assert_array_equal(layer.scale(), np.ones(4))


def test_array_assigned_in_a_parameters_place_is_trained_still():
    """Any module's parameter stays one: arrays and numbers are taken for its new value."""

    class Weight(Parameter):
        """A parameter of the user's own type."""

    module = Module(weight=Weight(jnp.ones(2)))
    before = jax.tree.structure(module)
    for value in (jnp.zeros(2), np.zeros(2, np.float32), 3, 0.5, np.float32(1)):
        module.weight = value
        assert type(module.weight) is Weight
        assert isinstance(module.weight(), jax.Array)
        np.testing.assert_array_equal(module.weight(), value)
        assert jax.tree.structure(module) == before
    module.weight = Module(low=Parameter(1.0))  # anything else takes its place as it is
    assert set(module.partition()[1]) == {".weight.low.value"}
    module.weight = Parameter(2.0)
    del module.weight
    module.weight = jnp.ones(3)
    assert module.partition(Parameter)[1] == {}


def test_assigning_inside_jit_a_mask_and_an_abstract_tree():
    """Tracers, the bools of a mask and placeholders keep the structure, and stay what they are."""
    layer = LayerNorm(scale=jnp.ones(4))

    @jax.jit
    def doubled(layer):
        layer.scale = 2 * layer.scale()
        return layer

    np.testing.assert_array_equal(doubled(layer).scale(), np.full(4, 2))
    mask = jax.tree.map(lambda _: True, Module(weight=Parameter(1.0)))
    mask.weight = False
    assert mask.weight.value is False
    abstract = jax.eval_shape(lambda: LayerNorm(scale=jnp.ones(4)))
    abstract.scale = jax.ShapeDtypeStruct((8,), "float32")
    assert jax.tree.structure(abstract) == jax.tree.structure(layer)
    assert abstract.scale.value.shape == (8,)
