"""Modes, mapped axes, complex numbers and borders of the layers for Flax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax.sharding import AxisType, PartitionSpec

from inox.interop import flax_linen, flax_nnx

from .formula import moments, normalized

RANDOM = np.random.default_rng(0)
X = (2 + 3 * RANDOM.standard_normal((8, 5, 4))).astype(np.float32)
KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("standard_promotion")


def rngs():
    return nnx.Rngs(0)


def linen_batch_norm(x, **arguments):
    """Output and new statistics of a fresh layer in training mode."""
    layer = flax_linen.BatchNorm(use_running_average=False, **arguments)
    variables = flax_linen.BatchNorm(use_running_average=True).init(KEY, x)
    y, updates = layer.apply(variables, x, mutable=["batch_stats"])
    return y, updates["batch_stats"]


def nnx_batch_norm(x, **arguments):
    layer = flax_nnx.BatchNorm(x.shape[-1], **arguments, rngs=rngs())
    return layer(x), {"mean": layer.mean[...], "var": layer.var[...]}


BOTH = pytest.mark.parametrize(
    "batch_norm", [nnx_batch_norm, linen_batch_norm], ids=["nnx", "linen"]
)


@BOTH
def test_statistics_over_a_mapped_axis(batch_norm):
    """`axis_name` pools over a `vmap`, and the running statistics are those of all."""
    mapped = functools.partial(batch_norm, axis_name="batch")
    y, stats = jax.vmap(mapped, axis_name="batch")(X)
    np.testing.assert_allclose(y, normalized(X, (0, 1), 1e-5), atol=1e-5)
    mean, var = moments(X, (0, 1))
    np.testing.assert_allclose(stats["mean"], np.tile(0.01 * mean[0], (8, 1)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], np.tile(0.99 + 0.01 * var[0], (8, 1)), rtol=1e-5)


GROUPS = [[0, 1, 2, 3], [4, 5, 6, 7]], [[7, 0], [1, 2, 3, 4, 5, 6]]


@BOTH
@pytest.mark.parametrize("groups", GROUPS, ids=["equal", "unequal"])
@pytest.mark.parametrize("way", ["vmap", "pmap", "shard_map", "unchecked"])
def test_groups_of_positions_are_pooled_alone(batch_norm, groups, way):
    """`axis_index_groups`, also of unequal sizes and under `vmap`, forward and backward."""
    one = functools.partial(batch_norm, axis_name="batch", axis_index_groups=groups)

    def mapped(x):
        if way == "vmap":
            return jax.vmap(lambda x: one(x)[0], axis_name="batch")(x)
        if way == "pmap":
            return jax.pmap(lambda x: one(x)[0], axis_name="batch")(x)
        mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
        rows = PartitionSpec("batch")
        return jax.shard_map(
            lambda x: one(x[0])[0][None],
            mesh=mesh,
            in_specs=rows,
            out_specs=rows,
            check_vma=way == "shard_map",
        )(x)

    def plain(x):
        y = [None] * 8
        for group in groups:
            part = x[jnp.array(group)]
            part = part - part.mean((0, 1))
            part = part / jnp.sqrt((part**2).mean((0, 1)) + 1e-5)
            for position, value in zip(group, part, strict=True):
                y[position] = value
        return jnp.stack(y)

    def both(function):
        """Output and gradient; compiled, as else a `shard_map` compiles each operation alone."""
        gradient = jax.grad(lambda x: jnp.sum(function(x) ** 3))
        return jax.jit(lambda x: (function(x), gradient(x)))(X)

    for found, expected, bound in zip(both(mapped), both(plain), (2e-6, 3e-5), strict=True):
        np.testing.assert_allclose(found, expected, atol=bound)


def row_norms(**arguments):
    """Layers with an `axis_name`, as functions of x."""
    return {
        "nnx LayerNorm": lambda x: flax_nnx.LayerNorm(4, **arguments, rngs=rngs())(x),
        "nnx RMSNorm": lambda x: flax_nnx.RMSNorm(4, **arguments, rngs=rngs())(x),
        "linen LayerNorm": lambda x: flax_linen.LayerNorm(**arguments).init_with_output(KEY, x)[0],
        "linen RMSNorm": lambda x: flax_linen.RMSNorm(**arguments).init_with_output(KEY, x)[0],
    }


@pytest.mark.parametrize("name", row_norms())
def test_rows_split_over_a_mapped_axis(name):
    """A row whose parts lie along a mapped axis is normalized as a whole."""
    y = jax.vmap(row_norms(axis_name="parts")[name], axis_name="parts")(X)
    centred = "LayerNorm" in name
    np.testing.assert_allclose(y, normalized(X, (0, 2), 1e-6, centred=centred), atol=1e-5)


@BOTH
def test_complex_numbers(batch_norm):
    """The mean is complex, the variance that of distances in the plane."""
    x = X + 1j * np.flip(X)
    y, stats = batch_norm(x)
    np.testing.assert_allclose(y, normalized(x, (0, 1), 1e-5), atol=1e-5)
    mean, var = moments(x, (0, 1))
    np.testing.assert_allclose(stats["mean"], 0.01 * mean[0, 0], rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.99 + 0.01 * var[0, 0], rtol=1e-5)
    assert y.dtype == stats["mean"].dtype == jnp.complex64
    assert stats["var"].dtype == jnp.float32


@BOTH
def test_one_element_leaves_the_running_variance(batch_norm):
    """A batch of one has a mean and no variance: the running variance does not go to 0."""
    y, stats = batch_norm(X[:1, 0])
    assert np.all(y == 0)
    np.testing.assert_allclose(stats["mean"], 0.01 * X[0, 0], rtol=1e-6)
    assert np.all(stats["var"] == 1)


@BOTH
def test_padding_alone_leaves_the_running_statistics(batch_norm):
    """A mask that holds nothing, of NaN: y is the bias, and no statistic moves."""

    def masked(x):
        if batch_norm is nnx_batch_norm:
            layer = flax_nnx.BatchNorm(4, rngs=rngs())
            return layer(x, mask=jnp.zeros(x.shape, bool)), layer.mean[...], layer.var[...]
        layer = flax_linen.BatchNorm(use_running_average=False)
        y, variables = layer.init_with_output(KEY, X)
        y, new = layer.apply(variables, x, mask=jnp.zeros(x.shape), mutable=["batch_stats"])
        return y, new["batch_stats"]["mean"], new["batch_stats"]["var"]

    y, mean, var = masked(np.full(X.shape, np.nan, np.float32))
    assert np.all(y == 0)
    assert np.all(mean == 0)
    assert np.all(var == 1)


def test_instance_norm_of_vectors_is_the_bias():
    """With nothing between the first axis and the features each element is its own mean."""
    for y in (
        flax_nnx.InstanceNorm(4, rngs=rngs())(X[:, 0]),
        flax_linen.InstanceNorm().init_with_output(KEY, X[:, 0])[0],
    ):
        assert np.all(y == 0)


def test_modes_of_nnx():
    """The constructor, the call, `train`, `eval` and `nnx.view` say the mode; the call wins."""
    layer = flax_nnx.BatchNorm(4, rngs=rngs())
    trained = layer(X)
    layer.eval()
    assert layer.use_running_average is True
    by_running = layer(X)
    assert not np.allclose(trained, by_running)
    np.testing.assert_array_equal(layer(X, use_running_average=False), trained)
    layer.train()
    np.testing.assert_array_equal(layer(X), trained)
    view = nnx.view(layer, use_running_average=True)
    assert view.use_running_average is True
    assert view.mean is layer.mean


def test_initialization_of_linen_moves_nothing():
    """`init` neither needs the mapped axis nor moves the statistics."""
    layer = flax_linen.BatchNorm(use_running_average=False, axis_name="batch")
    stats = layer.init(KEY, X)["batch_stats"]
    assert np.all(stats["mean"] == 0)
    assert np.all(stats["var"] == 1)


def test_kept_dtypes_of_linen():
    """`force_float32_reductions=False` keeps statistics in `param_dtype`, computed in float32."""
    arguments = {"force_float32_reductions": False, "param_dtype": jnp.bfloat16}
    layer = flax_linen.BatchNorm(use_running_average=False, **arguments)
    theirs = linen.BatchNorm(use_running_average=False, **arguments)
    variables = layer.init(KEY, X)
    types = jax.tree.map(lambda a: a.dtype, variables)
    assert types == jax.tree.map(lambda a: a.dtype, theirs.init(KEY, X))
    _, updates = layer.apply(variables, X, mutable=["batch_stats"])
    mean = updates["batch_stats"]["mean"]
    assert mean.dtype == jnp.bfloat16
    expected = jnp.asarray(0.01 * moments(X, (0, 1))[0].ravel(), jnp.bfloat16)
    np.testing.assert_array_equal(mean, expected)


def test_promotion_of_the_users_own():
    """NNX's `promote_dtype` is handed (x, mean, var, scale, bias), and what it returns is used."""
    seen = []

    def halve(arrays, *, dtype):
        seen.append((len(arrays), dtype))
        return tuple(None if a is None else a.astype(jnp.bfloat16) for a in arrays)

    layers = {
        5: flax_nnx.BatchNorm(4, promote_dtype=halve, rngs=rngs()),
        3: flax_nnx.LayerNorm(4, promote_dtype=halve, rngs=rngs()),
        2: flax_nnx.RMSNorm(4, promote_dtype=halve, rngs=rngs()),
    }
    for number, layer in layers.items():
        assert layer(X).dtype == jnp.bfloat16
        assert seen.pop() == (number, None)


def test_everything_else_of_flax_is_there():
    """The one changed import serves a file: what is not ours is Flax' own."""
    assert flax_nnx.Linear is nnx.Linear
    assert flax_nnx.Module is nnx.Module
    assert flax_linen.Dense is linen.Dense
    assert flax_linen.compact is linen.compact
    with pytest.raises(AttributeError, match="Liinear"):
        _ = flax_nnx.Liinear


def test_replacing_keeps_the_objects():
    """Each layer stays the object that it was; subclasses are left, and everything is told."""

    class Special(nnx.LayerNorm):
        pass

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.BatchNorm(4, rngs=rngs)
            self.rest = nnx.List([nnx.LayerNorm(4, rngs=rngs), Special(4, rngs=rngs)])
            self.again = self.first

        def __call__(self, x):
            return self.rest[1](self.rest[0](self.again(x)))

    model = Model(rngs())
    norm, before, y = model.first, nnx.state(model), model(X)
    state = nnx.state(model)
    assert flax_nnx.replace(model) is model
    assert model.first is model.again is norm
    assert type(norm) is flax_nnx.BatchNorm
    assert type(model.rest[0]) is flax_nnx.LayerNorm
    assert type(model.rest[1]) is Special
    assert jax.tree.structure(before) == jax.tree.structure(nnx.state(model))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state, nnx.state(model)))
    np.testing.assert_allclose(model(X), y, atol=1e-5)


def test_replacing_tells(capsys):
    """A line for each layer, and one where there is none."""
    model = nnx.Sequential(nnx.Linear(4, 4, rngs=rngs()), nnx.GroupNorm(4, 2, rngs=rngs()))
    flax_nnx.replace(model)
    assert capsys.readouterr().out == "layers.1: GroupNorm replaced\n"
    flax_nnx.replace(nnx.Linear(4, 4, rngs=rngs()))
    assert "No normalization layer" in capsys.readouterr().out
