"""Instance norm fits any rank: its axes are those between batch and channels, unless it is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, check_message, example, standardize64

from inox.nn import InstanceNorm, LayerNorm

SHAPES = {
    (4, 10, 3): (1,),
    (2, 5, 6, 3): (1, 2),
    (2, 3, 4, 5, 3): (1, 2, 3),
    (2, 3, 2, 3, 2, 3): (1, 2, 3, 4),
    (1, 7, 1): (1,),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_default_is_every_axis_between_batch_and_channels(shape):
    """Sequences, images, volumes: each channel of each sample for itself."""
    x = example(shape=shape)
    expected = standardize64(x, SHAPES[shape], 1e-5)
    layer = InstanceNorm()
    assert layer.axis is None
    assert_close(layer(x), expected)
    assert_close(jax.jit(layer)(x), expected)
    assert_close(InstanceNorm(None)(x), expected)
    padded = np.concatenate([x, np.full_like(x, np.nan)], 1)
    where = np.broadcast_to(~np.isnan(padded[..., :1]), (*padded.shape[:-1], 1))
    assert_close(layer(padded, where=where)[:, : shape[1]], expected)


@pytest.mark.parametrize("axis", [(-3, -2), (1, 2), -2, (0, 1, 2), [1]], ids=str)
def test_named_axes_stay_what_they_are(axis):
    """Who names axes gets those, whatever the rank: the first axis too."""
    x = example(shape=(2, 5, 6, 3))
    named = axis if isinstance(axis, int) else tuple(axis)
    assert_close(InstanceNorm(axis)(x), standardize64(x, named, 1e-5))


def test_one_layer_serves_several_ranks():
    """The default is found at the call: nothing of one x is kept for the next."""
    layer = InstanceNorm(scale=jnp.full(3, 2.0), bias=jnp.ones(3))
    for shape, axes in SHAPES.items():
        if shape[-1] == 3:
            x = example(shape=shape)
            assert_close(layer(x), 2 * standardize64(x, axes, 1e-5) + 1, 16)
    assert isinstance(layer, LayerNorm)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3)], ids=str)
def test_without_a_spatial_axis_the_error_has_the_cure(shape):
    """(N, C) has nothing to normalize over: each channel of each sample is one number."""
    for attempt in (InstanceNorm(), lambda x: jax.eval_shape(InstanceNorm(), x)):
        with pytest.raises(ValueError, match="spatial") as error:
            attempt(np.zeros(shape, np.float32))
        check_message(error, "x", str(shape), "(N, *, C)", "x[None]", "axis=")
    if len(shape) == 2:  # one sample (L, C), by the second cure
        x = example(shape=shape)
        assert_close(InstanceNorm(-2)(x), standardize64(x, -2, 1e-5))
