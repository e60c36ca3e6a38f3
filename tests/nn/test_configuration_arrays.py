"""Arrays of the configuration are leaves, and no parameters: nothing trains them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import call, example

from inox.nn import (
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Parameter,
    RMSNorm,
    export_state,
)

EPSILON = jnp.float32(0.5)
LAYERS = {
    "batch": lambda: BatchNorm(4, EPSILON, jnp.float32(0.9), scale=jnp.ones(4)),
    "batch_momenta": lambda: BatchNorm(4, EPSILON, jnp.full(4, 0.9), scale=jnp.ones(4)),
    "batch_warmup": lambda: BatchNorm(4, EPSILON, jnp.float32(0.9), scale=jnp.ones(4), warmup=True),
    "batch_renorm": lambda: BatchRenorm(
        4,
        EPSILON,
        jnp.float32(0.9),
        scale=jnp.ones(4),
        r_max=jnp.float32(1.5),
        d_max=jnp.float32(0.5),
        steps=0,
    ),
    "layer": lambda: LayerNorm(epsilon=EPSILON, scale=jnp.ones(4)),
    "layer_numpy": lambda: LayerNorm(epsilon=np.asarray(0.5, np.float32), scale=jnp.ones(4)),
    "group": lambda: GroupNorm(2, EPSILON, scale=jnp.ones(4)),
    "instance": lambda: InstanceNorm(epsilon=EPSILON, scale=jnp.ones(4)),
    "root_mean_square": lambda: RMSNorm(epsilon=EPSILON, scale=jnp.ones(4)),
}


def is_parameter(node):
    return isinstance(node, Parameter)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_reach_parameters_alone(name, training):
    """Of output and state together, the gradient is exactly 0 but for the scale; forward mode too.

    The configuration is used all the same: another epsilon gives another output.
    """
    layer, state = export_state(LAYERS[name]())
    layer.train(training)
    if state:  # so that momentum 0.9 is not lost in a first batch that counts alone
        _, state = layer(example(1), state, training=True)
    x, weight = jnp.asarray(example()), jnp.asarray(example(2))

    def loss(layer):
        y, after = call(layer, state, x)
        return jnp.sum(y * weight) + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(after))

    slope = jax.jit(jax.grad(loss))(layer)
    assert np.abs(np.asarray(slope.scale.value)).max() > 0
    leaves = jax.tree_util.tree_leaves_with_path(slope, is_leaf=is_parameter)
    others = [(path, leaf) for path, leaf in leaves if not is_parameter(leaf)]
    assert others
    for path, leaf in others:
        np.testing.assert_array_equal(leaf, np.zeros(np.shape(leaf)), err_msg=str(path))

    def along(layer):
        moving = jax.tree.map(
            lambda node: jax.tree.map(jnp.zeros_like, node) if is_parameter(node) else 1 + 0 * node,
            layer,
            is_leaf=is_parameter,
        )
        return jax.jvp(loss, (layer,), (jax.tree.map(jnp.asarray, moving),))[1]

    assert float(along(jax.tree.map(jnp.asarray, layer))) == 0
    other = jax.tree.map(lambda leaf: leaf, layer)
    other.epsilon = jnp.float32(5.0)
    assert float(jnp.abs(loss(other) - loss(layer))) > 1e-3


def test_steps_of_an_optimizer_leave_the_configuration():
    """Three steps of gradient descent at a large rate: epsilon and momentum keep their bits."""
    layer, state = export_state(LAYERS["batch"]())
    initial = layer

    @jax.jit
    def step(layer, state, x):
        def loss(layer):
            y, after = layer(x, state)
            return jnp.sum((y - 1) ** 2), after

        slope, after = jax.grad(loss, has_aux=True)(layer)
        return jax.tree.map(lambda leaf, s: leaf - 0.1 * s, layer, slope), after

    for seed in range(3):
        layer, state = step(layer, state, example(seed))
    assert float(layer.epsilon) == float(initial.epsilon)
    assert float(layer.momentum) == float(initial.momentum)
    assert not np.array_equal(layer.scale.value, initial.scale.value)
