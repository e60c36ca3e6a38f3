"""Axes that x has not, shardings that are part of a type, dtypes that JAX will not promote."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from inox.interop import flax_linen, flax_nnx
from inox.interop.core import Over
from inox.interop.moving import normalize_moving

X = np.random.default_rng(0).normal(1, 2, (8, 4)).astype(np.float32)
AXES = {
    "BatchNorm": ["axis"],
    "LayerNorm": ["reduction_axes", "feature_axes"],
    "RMSNorm": ["reduction_axes", "feature_axes"],
    "InstanceNorm": ["feature_axes"],
    "GroupNorm": ["reduction_axes"],
}
OPTIONS = [(name, option) for name, options in AXES.items() for option in options]


@pytest.mark.parametrize("axis", [2, -3, (1, 5)], ids=str)
@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_axis_that_x_does_not_have(name, option, axis):
    """An error that names it. `BatchNorm(axis=3)` on flat x is none over everything."""
    groups = {"num_groups": 2} if name == "GroupNorm" else {}
    layer = getattr(flax_nnx, name)(4, rngs=nnx.Rngs(0), **{option: axis}, **groups)
    with pytest.raises(ValueError, match="out of range"):
        layer(X)
    module = getattr(flax_linen, name)(**{option: axis}, **groups)
    mode = {"use_running_average": False} if name == "BatchNorm" else {}
    with pytest.raises(ValueError, match="out of range"):
        module.init(jax.random.key(0), X, **mode)


@pytest.mark.parametrize("axis", [1.0, "c", None], ids=str)
def test_an_axis_that_is_no_integer(axis):
    """As in Flax a TypeError, and not another axis."""
    with pytest.raises(TypeError):
        flax_nnx.BatchNorm(4, axis=axis, rngs=nnx.Rngs(0))(X)


def test_group_norm_of_one_axis():
    """The error speaks of x, as the caller gave no reduction_axes."""
    with pytest.raises(ValueError, match="x must have a batch axis"):
        flax_nnx.GroupNorm(4, 2, rngs=nnx.Rngs(0))(X[0])


def test_another_number_of_features():
    """The error tells the number of features that x has."""
    with pytest.raises(ValueError, match="has 4 features along"):
        flax_nnx.BatchNorm(6, rngs=nnx.Rngs(0))(X)


@pytest.mark.parametrize(
    ("name", "split"),
    [("BatchNorm", P(None, "d")), ("InstanceNorm", P("d", None)), ("LayerNorm", P("d", None))],
    ids=str,
)
def test_channels_split_in_the_types(name, split):
    """A mesh of explicit axes: y is split as x, and has the numbers of Flax' own class."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Explicit,))
    expected = getattr(nnx, name)(4, use_fast_variance=False, rngs=nnx.Rngs(0))(jnp.asarray(X))
    with jax.set_mesh(mesh):
        along = {"out_sharding": (split[1],)}
        layer = getattr(flax_nnx, name)(
            4, rngs=nnx.Rngs(0), scale_metadata=along, bias_metadata=along
        )
        x = jax.device_put(X, split)
        y = nnx.jit(lambda layer, x: layer(x))(layer, x)
        assert jax.typeof(y).sharding.spec == split
    np.testing.assert_allclose(y, expected, atol=2e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_statistics_that_move_split_in_the_types(dtype):
    """By running statistics that the batch moves itself, with the channels over devices."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Explicit,))
    x, old = jnp.asarray(X, dtype), jnp.ones(4)
    over, first = Over((0,), 1e-5), jnp.asarray(False)
    expected, _ = normalize_moving(over, x, old, old, 0.9, first)
    with jax.set_mesh(mesh):
        x, old = jax.device_put(x, P(None, "d")), jax.device_put(old, P("d"))
        y, moments = normalize_moving(over, x, old, old, 0.9, first)
        assert jax.typeof(moments.mean).sharding.spec == P("d")
    np.testing.assert_allclose(y, expected, atol=2e-6)


@pytest.mark.parametrize("kind", [jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.int4], ids=str)
def test_numbers_of_few_bits(kind):
    """With a `dtype` they are normalized as their float32 values: JAX has no promotion for them."""
    x = jnp.asarray(X).astype(kind)
    layer = flax_nnx.LayerNorm(4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    wide = nnx.LayerNorm(4, rngs=nnx.Rngs(0))(x.astype(jnp.float32))
    y = layer(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), wide, rtol=8e-3, atol=1e-3)
    module = flax_linen.LayerNorm(dtype=jnp.bfloat16)
    z = module.apply(module.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(z, y)


@pytest.mark.parametrize("own", [nnx, linen], ids=["nnx", "linen"])
def test_a_program_that_promotes_nothing(own):
    """`jax.numpy_dtype_promotion("strict")` : what is computed in is ours to say."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        if own is nnx:
            y = flax_nnx.LayerNorm(4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))(X)
        else:
            module = flax_linen.LayerNorm(dtype=jnp.bfloat16)
            y = module.apply(module.init(jax.random.key(0), X), X)
    assert y.dtype == jnp.bfloat16
