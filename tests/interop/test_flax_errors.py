"""Mistakes in the arguments of the layers for Flax, and what is said of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from inox.interop import flax_linen, flax_nnx

X = np.random.default_rng(0).standard_normal((8, 5, 4)).astype(np.float32)
KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("standard_promotion")


def rngs():
    return nnx.Rngs(0)


MISTAKES = {
    "no mode": (
        lambda: flax_nnx.BatchNorm(4, use_running_average=None, rngs=rngs())(X),
        ("use_running_average", "model.train()"),
    ),
    "no mode in linen": (
        lambda: flax_linen.BatchNorm().init(KEY, X),
        ("use_running_average",),
    ),
    "another number of features": (
        lambda: flax_nnx.BatchNorm(3, rngs=rngs())(X),
        ("(8, 5, 4)", "(3,)", "features"),
    ),
    "features elsewhere": (
        lambda: flax_nnx.LayerNorm(5, rngs=rngs())(X),
        ("(8, 5, 4)", "(5,)", "features"),
    ),
    "a mask of tokens": (
        lambda: flax_nnx.LayerNorm(4, rngs=rngs())(X, mask=np.ones((8, 5), bool)),
        ("mask", "(8, 5)", "mask[..., None]"),
    ),
    "a mask of weights": (
        lambda: flax_nnx.BatchNorm(4, rngs=rngs())(X, mask=np.full((8, 1, 1), 0.3)),
        ("mask", "boolean", "float32"),
    ),
    "groups that don't divide": (
        lambda: flax_nnx.GroupNorm(4, 3, rngs=rngs()),
        ("num_groups=3", "4 features"),
    ),
    "groups twice": (
        lambda: flax_linen.GroupNorm(2, 2).init(KEY, X),
        ("num_groups", "group_size", "None"),
    ),
    "groups without the features": (
        lambda: flax_nnx.GroupNorm(4, 2, reduction_axes=(1,), rngs=rngs())(X),
        ("reduction_axes", "-1"),
    ),
    "an instance norm over the batch": (
        lambda: flax_nnx.InstanceNorm(4, feature_axes=0, rngs=rngs())(X),
        ("feature_axes", "leading dimension"),
    ),
    "groups of no axis": (
        lambda: flax_nnx.BatchNorm(4, axis_index_groups=[[0, 1]], rngs=rngs()),
        ("axis_index_groups", "axis_name"),
    ),
    "groups of no axis in linen": (
        lambda: flax_linen.LayerNorm(axis_index_groups=[[0, 1]]),
        ("axis_index_groups", "axis_name"),
    ),
    "groups with a gap": (
        lambda: flax_linen.BatchNorm(axis_name="i", axis_index_groups=[[0, 2]]),
        ("axis_index_groups", "once"),
    ),
    "a dtype of integers": (
        lambda: flax_nnx.RMSNorm(4, dtype=jnp.int32, rngs=rngs()),
        ("dtype", "int32"),
    ),
    "an axis that is not mapped": (
        lambda: flax_nnx.LayerNorm(4, axis_name="model", rngs=rngs())(X),
        ("axis_name", "model", "shard_map"),
    ),
    "a negative epsilon": (
        lambda: flax_linen.LayerNorm(epsilon=-1.0).init(KEY, X),
        ("epsilon", "-1"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(name):
    """The message names the argument, what was found and the cure."""
    call, fragments = MISTAKES[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)
