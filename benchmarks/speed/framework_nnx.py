"""Flax NNX: a residual convolutional net with batch norm, and a transformer with layer norm."""

from functools import partial
from typing import Any

import jax
import optax

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


def convolutional(nnx: Any) -> Steps:
    """Stages of a convolution and a residual one, each with batch norm."""

    class Stage(nnx.Module):
        def __init__(self, before: int, channels: int, stride: int, rngs: Any) -> None:
            convolution = partial(nnx.Conv, kernel_size=(3, 3), use_bias=False, rngs=rngs)
            self.first = convolution(before, channels, strides=stride)
            self.first_norm = nnx.BatchNorm(channels, rngs=rngs)
            self.second = convolution(channels, channels)
            self.second_norm = nnx.BatchNorm(channels, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.relu(self.first_norm(self.first(x)))
            return x + nnx.relu(self.second_norm(self.second(x)))

    class Network(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            before = (3, *(channels for channels, _ in STAGES))
            self.stages = nnx.List(
                [Stage(c, *stage, rngs) for c, stage in zip(before, STAGES, strict=False)]
            )
            self.head = nnx.Linear(before[-1], CLASSES, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            for stage in self.stages:
                x = stage(x)
            return self.head(x.mean((1, 2)))

    return _steps(nnx, Network(nnx.Rngs(0)), images())


def transformer(nnx: Any) -> Steps:
    """Blocks of attention and a perceptron with layer norm before each, and one at the end."""

    class Block(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.before_attention = nnx.LayerNorm(WIDTH, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
            self.before_perceptron = nnx.LayerNorm(WIDTH, rngs=rngs)
            self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
            self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = x + self.attention(self.before_attention(x))
            return x + self.down(nnx.gelu(self.up(self.before_perceptron(x))))

    class Network(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.blocks = nnx.List([Block(rngs) for _ in range(DEPTH)])
            self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
            self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x).mean(1))

    return _steps(nnx, Network(nnx.Rngs(0)), tokens())


def _steps(nnx: Any, model: Any, batch: Any) -> Steps:
    """A step of Adam, and one in evaluation, of the model's state."""
    held = model, nnx.Optimizer(model, optax.adam(LEARNING_RATE), wrt=nnx.Param)
    definition, state = nnx.split(held)

    def train(state: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        model, optimizer = nnx.merge(definition, state)
        loss, gradients = nnx.value_and_grad(lambda model: cross_entropy(model(x), labels))(model)
        optimizer.update(model, gradients)
        return nnx.state((model, optimizer)), loss

    def evaluate(state: Any, x: Any) -> Any:
        model, _ = nnx.merge(definition, state)
        model.eval()
        return model(x)

    def per_call() -> Any:
        return nnx.merge(*nnx.split(held))

    return Steps(
        jax.tree.map(lambda a: a.copy(), state),  # buffers are donated, `held` keeps its own
        batch,
        train,
        evaluate,
        per_call,
        "`nnx.split` and `nnx.merge` of model and optimizer",
    )
