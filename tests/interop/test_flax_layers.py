"""Layers for Flax NNX and Linen: the tree of Flax' own, and the numbers of the formula.

The bounds: inside everything is float32 with an error of at most 8 units in the last place of what
a slice holds (docs/accuracy.md), and y is rounded to its dtype once.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from inox.interop import flax_linen, flax_nnx

from .flax_cases import CASES, MASK, X
from .formula import moments, ulp_of

LAYERS = ["BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm"]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)
pytestmark = pytest.mark.usefixtures("standard_promotion")


def nnx_layer(case, namespace=flax_nnx, **more):
    """A layer of a case with its seeded parameters."""
    layer = getattr(namespace, case.name)(case.number, **case.arguments, **more, rngs=nnx.Rngs(0))
    for name, value in case.values().items():
        getattr(layer, name)[...] = value.reshape(-1)
    return layer


def linen_layer(case, namespace=flax_linen, **more):
    """A layer of a case, and its variables with seeded parameters."""
    if case.name == "BatchNorm":
        more = {"use_running_average": False} | more
    layer = getattr(namespace, case.name)(**case.arguments, **more)
    variables = layer.init(jax.random.key(0), X)
    if case.parameters:
        variables = variables | {"params": dict(case.values())}
    return layer, variables


def by_nnx(case, x, mask=None, **more):
    return nnx_layer(case, **more)(x, mask=mask)


def by_linen(case, x, mask=None, **more):
    layer, variables = linen_layer(case, **more)
    y, _ = layer.apply(variables, x, mask=mask, mutable=["batch_stats"])
    return y


BOTH = pytest.mark.parametrize("apply", [by_nnx, by_linen], ids=["nnx", "linen"])


@pytest.mark.parametrize("name", LAYERS)
def test_arguments_are_flax_own(name):
    """Names, order, kinds and defaults of the constructor and of the call; initializers alike."""
    for theirs, ours in (
        (getattr(nnx, name).__init__, getattr(flax_nnx, name).__init__),
        (getattr(nnx, name).__call__, getattr(flax_nnx, name).__call__),
        (getattr(linen, name), getattr(flax_linen, name)),
        (getattr(linen, name).__call__, getattr(flax_linen, name).__call__),
    ):
        expected, found = (inspect.signature(f).parameters for f in (theirs, ours))
        assert list(found) == list(expected)
        for key, parameter in expected.items():
            assert found[key].kind == parameter.kind
            default, own = parameter.default, found[key].default
            if key.endswith("_init"):
                keys = jax.random.key(0), (3,), jnp.float32
                default, own = default(*keys).tolist(), own(*keys).tolist()
            assert own == default or (key == "parent" and type(own) is type(default)), key


@EVERY_CASE
def test_tree_is_flax_own(case):
    """Paths, types, shapes, dtypes and values of all variables of a fresh layer."""
    trees = []
    for namespace in (nnx, flax_nnx):
        layer = getattr(namespace, case.name)(case.number, **case.arguments, rngs=nnx.Rngs(0))
        state = nnx.to_flat_state(nnx.state(layer))
        trees.append([(path, type(v), v.get_metadata(), np.asarray(v[...])) for path, v in state])
    for namespace in (linen, flax_linen):
        more = {"use_running_average": True} if case.name == "BatchNorm" else {}
        layer = getattr(namespace, case.name)(**case.arguments, **more)
        trees.append(layer.init(jax.random.key(0), X))
    assert jax.tree.structure(trees[2]) == jax.tree.structure(trees[3])
    for pair in ((trees[0], trees[1]), (trees[2], trees[3])):
        for theirs, ours in zip(*map(jax.tree.leaves, pair), strict=True):
            assert np.shape(theirs) == np.shape(ours)
            assert np.all(np.asarray(theirs) == np.asarray(ours))
            assert np.asarray(theirs).dtype == np.asarray(ours).dtype


@EVERY_CASE
@BOTH
def test_numbers_are_those_of_the_formula(case, apply):
    """Within 8 units in the last place of float32, of numbers below 8."""
    np.testing.assert_allclose(apply(case, X), case.expected(X), atol=8 * 8 * ulp_of(np.float32))


@EVERY_CASE
@BOTH
def test_masked_positions_are_normalized_by_the_others(case, apply):
    """Flax' convention: a mask chooses what the statistics are of, and y is there everywhere."""
    y = apply(case, X, MASK)
    expected = case.expected(X, MASK)
    ulp = ulp_of(np.float32)
    np.testing.assert_allclose(y, expected, rtol=8 * ulp, atol=8 * 16 * ulp)


@EVERY_CASE
@BOTH
def test_padding_reaches_no_gradient(case, apply):
    """NaN and infinity in padding: y is finite, and the gradient of x is that of zeros there."""
    padded = np.where(MASK, X, np.where(X > 2, np.nan, np.inf)).astype(np.float32)
    weight = np.where(MASK, np.random.default_rng(3).standard_normal(X.shape), 0)
    weight = weight.astype(np.float32)

    def loss(x):
        return jnp.sum(weight * apply(case, x, MASK))

    gradient = jax.grad(loss)(padded)
    assert np.isfinite(apply(case, padded, MASK)).all()
    np.testing.assert_array_equal(gradient, jax.grad(loss)(np.where(MASK, X, 0)))
    assert np.all(np.asarray(gradient)[np.broadcast_to(~MASK, X.shape)] == 0)


@EVERY_CASE
@BOTH
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_types_are_rounded_once(case, apply, dtype):
    """Half a unit in the last place, of the formula on the rounded x; y has x's dtype."""
    x = jnp.asarray(X, dtype)
    y = apply(case, x)
    assert y.dtype == dtype
    expected = case.expected(np.asarray(x, np.float64))
    error = np.abs(np.asarray(y, np.float64) - expected)
    assert np.all(error <= 0.501 * ulp_of(dtype) * 2 ** np.ceil(np.log2(np.abs(expected) + 1e-2)))


@EVERY_CASE
@BOTH
def test_dtype_says_that_of_the_result(case, apply):
    """`dtype` widens before anything is computed, and narrows after everything is."""
    narrow = apply(case, X, dtype=jnp.bfloat16)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_array_equal(narrow, apply(case, X).astype(jnp.bfloat16))
    wide = apply(case, jnp.asarray(X, jnp.bfloat16), dtype=jnp.float32)
    assert wide.dtype == jnp.float32
    expected = case.expected(np.asarray(jnp.asarray(X, jnp.bfloat16), np.float64))
    np.testing.assert_allclose(wide, expected, atol=8 * 8 * ulp_of(np.float32))


@BOTH
@pytest.mark.parametrize("case", [c for c in CASES if not c.label and c.name != "RMSNorm"], ids=str)
def test_a_mean_that_is_large_costs_nothing(case, apply):
    """A mean of 3000 spreads: the error stays that of x itself, where Flax' is of y's size."""
    x = (X + 3000).astype(np.float32)
    np.testing.assert_allclose(apply(case, x), case.expected(x), atol=8 * 8 * ulp_of(np.float32))


@pytest.mark.parametrize("label", ["", "channels first"])
def test_running_statistics(label):
    """Momentum weighs the old ones; in evaluation they are what x is normalized by."""
    case = next(c for c in CASES if c.name == "BatchNorm" and c.label == label)
    (axis,) = case.features
    mean, var = (s.ravel() for s in moments(X, [a for a in range(4) if a != axis]))
    layer = nnx_layer(case, momentum=0.75)
    layer(X)
    linen_norm, variables = linen_layer(case, momentum=0.75)
    _, updates = linen_norm.apply(variables, X, mutable=["batch_stats"])
    for found_mean, found_var in (
        (layer.mean[...], layer.var[...]),
        (updates["batch_stats"]["mean"], updates["batch_stats"]["var"]),
    ):
        np.testing.assert_allclose(found_mean, 0.25 * mean, rtol=1e-6)
        np.testing.assert_allclose(found_var, 0.75 + 0.25 * var, rtol=1e-6)
    spread = [-1 if a == axis else 1 for a in range(4)]
    scale, bias = (case.values()[n].astype(float).reshape(spread) for n in ("scale", "bias"))
    expected = (X - 0.25 * mean.reshape(spread)) / np.sqrt(
        0.75 + 0.25 * var.reshape(spread) + 1e-5
    ) * scale + bias
    layer.eval()
    before = nnx.state(layer)
    y = layer(X)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before, nnx.state(layer)))
    merged = variables | updates
    evaluated, _ = linen_layer(case, use_running_average=True)
    np.testing.assert_allclose(evaluated.apply(merged, X), expected, atol=1e-5)
    np.testing.assert_array_equal(layer(X), nnx_layer_of(merged, case)(X))


def nnx_layer_of(variables, case):
    """An NNX layer in evaluation mode with the numbers of Linen's variables."""
    layer = nnx_layer(case, use_running_average=True)
    layer.mean[...], layer.var[...] = (variables["batch_stats"][n] for n in ("mean", "var"))
    return layer
