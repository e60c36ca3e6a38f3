"""Flax Linen: a residual convolutional net with batch norm, and a transformer with layer norm."""

from functools import partial
from typing import Any

import jax
import optax
from flax.core import FrozenDict, freeze

from .framework_models import (
    CLASSES,
    DEPTH,
    HEADS,
    LEARNING_RATE,
    WIDTH,
    Steps,
    cross_entropy,
    images,
    tokens,
)
from .networks import STAGES


def convolutional(nn: Any) -> Steps:
    """Stages of a convolution and a residual one, each with batch norm."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x: Any, train: bool) -> Any:
            norm = partial(nn.BatchNorm, use_running_average=not train)
            convolution = partial(nn.Conv, kernel_size=(3, 3), use_bias=False)
            for channels, stride in STAGES:
                x = nn.relu(norm()(convolution(channels, strides=stride)(x)))
                x = x + nn.relu(norm()(convolution(channels)(x)))
            return nn.Dense(CLASSES)(x.mean((1, 2)))

    return _steps(Network(), images())


def transformer(nn: Any) -> Steps:
    """Blocks of attention and a perceptron with layer norm before each, and one at the end."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x: Any, train: bool) -> Any:
            for _ in range(DEPTH):
                x = x + nn.MultiHeadDotProductAttention(HEADS)(nn.LayerNorm()(x))
                x = x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))))
            return nn.Dense(CLASSES)(nn.LayerNorm()(x).mean(1))

    return _steps(Network(), tokens())


def _steps(model: Any, batch: Any) -> Steps:
    """A step of Adam, and one in evaluation."""
    optimizer = optax.adam(LEARNING_RATE)
    variables = model.init(jax.random.key(0), batch[0], train=False)
    params, stats = variables["params"], variables.get("batch_stats", {})
    carried = params, stats, optimizer.init(params)

    def train(carried: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        params, stats, memory = carried

        def loss_of(params: Any) -> Any:
            variables = {"params": params, "batch_stats": stats}
            y, updates = model.apply(variables, x, train=True, mutable=["batch_stats"])
            return cross_entropy(y, labels), updates.get("batch_stats", {})

        (loss, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, memory = optimizer.update(gradients, memory, params)
        return (optax.apply_updates(params, updates), stats, memory), loss

    def evaluate(carried: Any, x: Any) -> Any:
        return model.apply({"params": carried[0], "batch_stats": carried[1]}, x, train=False)

    def per_call() -> FrozenDict:
        leaves, structure = jax.tree.flatten(freeze({"params": params, "batch_stats": stats}))
        return jax.tree.unflatten(structure, leaves)

    return Steps(
        carried, batch, train, evaluate, per_call, "flatten and unflatten of the variables, frozen"
    )
