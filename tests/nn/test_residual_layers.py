"""`AddLayerNorm` and `AddRMSNorm`: the functions of their names with what the layer holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional, nn

ONES = jnp.full(6, 0.5)


@pytest.fixture
def arrays(rng):
    return rng.normal(size=(2, 3, 6)).astype(np.float32), rng.normal(size=(2, 3, 6)).astype("f")


def test_layers_are_the_functions(arrays):
    """Each argument of the constructor and of the call reaches the function under its name."""
    x, residual = arrays
    gate, where = jnp.full((2, 1, 1), 2.0), np.arange(3)[None, :, None] < 2
    settings = {"axis": (-2, -1), "epsilon": 0.5, "scale_offset": 1.0}
    settings |= {
        "out_dtype": jnp.bfloat16,
        "residual_dtype": jnp.float16,
        "normalize_rounded": True,
    }
    layer = nn.AddLayerNorm(scale=ONES, bias=2 * ONES, **settings)
    expected = functional.add_layer_norm(
        x, residual, ONES, 2 * ONES, gate=gate, where=where, **settings
    )
    for one, other in zip(layer(x, residual, gate=gate, where=where), expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    layer = nn.AddRMSNorm(scale=ONES, **settings)
    expected = functional.add_rms_norm(x, residual, ONES, gate=gate, where=where, **settings)
    for one, other in zip(layer(x, residual, gate=gate, where=where), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scale_and_bias_are_trained_and_nothing_else(arrays):
    """They are the parameters, known as those of a norm; an epsilon that is an array is none."""
    layer = nn.AddLayerNorm(epsilon=jnp.float32(1e-5), scale=ONES, bias=ONES)

    def loss(layer):
        y, r = layer(*arrays)
        return jnp.sum(y**2) + jnp.sum(r)

    gradients = jax.jit(jax.grad(loss))(layer)
    assert np.abs(gradients.scale.value).min() > 0
    assert np.abs(gradients.bias.value).min() > 0
    assert gradients.epsilon == 0
    assert nn.is_parameter(layer).scale.value
    assert nn.is_norm_parameter(layer).bias.value


def test_what_is_assigned_is_checked(arrays):
    """As in the constructor: dtypes, an offset, and no bias for RMS norm."""
    layer = nn.AddRMSNorm(scale=ONES)
    layer.residual_dtype = "float16"
    assert layer(*arrays)[1].dtype == jnp.float16
    for name, value in (
        ("out_dtype", int),
        ("scale_offset", "1"),
        ("bias", ONES),
        ("normalize_rounded", "no"),
    ):
        with pytest.raises(TypeError, match=name):
            setattr(layer, name, value)


@pytest.mark.parametrize("implementation", [None, "xla"])
def test_a_gate_that_is_not_finite_reaches_no_masked_element(arrays, implementation):
    """Its gradient stays 0 there, as in every norm."""
    x, residual = arrays
    where = np.arange(3)[None, :, None] < 2
    gate = jnp.asarray([1, np.inf, 1, np.nan, 1, 1], jnp.float32)

    def total(x):
        y, r = functional.add_rms_norm(
            x, residual, gate=gate, where=where, implementation=implementation
        )
        return jnp.sum(y) + jnp.sum(r)

    assert (np.asarray(jax.grad(total)(x))[:, 2] == 0).all()


def test_a_rounded_sum_of_a_wider_one(arrays, x64):
    """Statistics in float64 of a sum that is stored in float32: the kernels know no such case."""
    x, residual = arrays
    wide = residual.astype(np.float64)
    settings = {"residual_dtype": np.float32, "normalize_rounded": True}
    y, r = functional.add_layer_norm(x, wide, **settings)
    expected, _ = functional.add_layer_norm(x, wide, **settings, implementation="xla")
    assert (y.dtype, r.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
