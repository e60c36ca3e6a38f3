"""Networks as people write them for Haiku, built of the layers of a module that is given."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

CLASSES = 10


def images(seed: int, number: int = 8, size: int = 16) -> tuple[Any, Any]:
    """Random images with labels that can be learned: what a few pixels are."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((number, size, size, 3)).astype(np.float32)
    return x, (x[:, 0, 0, 0] > 0).astype(np.int32) + 2 * (x[:, 1, 1, 1] > 0)


def tokens(seed: int, number: int = 8, length: int = 12, width: int = 32) -> tuple[Any, Any]:
    """Random sequences with labels that can be learned."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((number, length, width)).astype(np.float32)
    return x, (x.mean((1, 2)) > 0).astype(np.int32)


def resnet(x: Any, is_training: bool) -> Any:
    """Haiku's own ResNet-18."""
    return hk.nets.ResNet18(CLASSES, logits_config={"w_init": None})(x, is_training)


def transformer(module: Any, layers: int = 3, remat: bool = False) -> Any:
    """A transformer of equal layers that are scanned over, with layer norms and an RMS norm."""

    def block(x: Any) -> Any:
        y = module.LayerNorm(-1, True, True)(x)
        attention = hk.MultiHeadAttention(2, 16, w_init=hk.initializers.VarianceScaling())
        x = x + attention(y, y, y)
        y = module.LayerNorm(axis=-1, param_axis=-1, create_scale=True, create_offset=True)(x)
        hidden = jax.nn.gelu(hk.Linear(64)(y))
        return x + hk.Linear(x.shape[-1])(hidden)

    def network(x: Any, is_training: bool) -> Any:
        body = hk.remat(block) if remat else block
        x = hk.layer_stack(layers)(body)(x)
        x = module.RMSNorm(-1)(x).mean(1)
        x = module.BatchNorm(True, True, 0.9)(hk.Linear(24)(x), is_training)
        return hk.Linear(CLASSES)(jax.nn.relu(x))

    return network


def no_decay_of_norms(parameters: Any) -> Any:
    """The mask of Optax that people write for Haiku: by names."""
    return hk.data_structures.map(lambda module, name, _: name == "w", parameters)


def trained(
    network: Any, parameters: Any, state: Any, batches: list[Any], rate: float = 1e-3
) -> tuple[Any, Any, Any, list[float]]:
    """Parameters, state, optimizer state and losses after a step of AdamW for each batch."""
    optimizer = optax.adamw(rate, weight_decay=1e-2, mask=no_decay_of_norms)

    def loss(parameters: Any, state: Any, x: Any, labels: Any) -> Any:
        logits, state = network.apply(parameters, state, None, x, True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

    @jax.jit
    def step(parameters: Any, state: Any, memory: Any, x: Any, labels: Any) -> Any:
        (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(
            parameters, state, x, labels
        )
        update, memory = optimizer.update(gradient, memory, parameters)
        return optax.apply_updates(parameters, update), state, memory, value

    memory = optimizer.init(parameters)
    values = []
    for x, labels in batches:
        parameters, state, memory, value = step(parameters, state, memory, x, jnp.asarray(labels))
        values.append(float(value))
    return parameters, state, memory, values
