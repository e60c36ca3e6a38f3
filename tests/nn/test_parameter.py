"""`Parameter` marks an array as trained."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_same_bits

from inox.nn import LayerNorm, Parameter


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
