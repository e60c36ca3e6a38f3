"""Flax Linen: a residual convolutional net with batch norm, and a transformer with layer norm."""

from functools import partial
from typing import Any

import jax
from flax.core import freeze

from .framework_models import CLASSES, DEPTH, HEADS, WIDTH, Steps, images, tokens
from .framework_steps import flattened, with_adam
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
    """Of the parameters and the statistics among the variables."""
    variables = model.init(jax.random.key(0), batch[0], train=False)
    params, stats = variables["params"], variables.get("batch_stats", {})

    def apply(params: Any, stats: Any, x: Any, train: bool) -> tuple[Any, Any]:
        variables = {"params": params, "batch_stats": stats}
        if not train:
            return model.apply(variables, x, train=False), stats
        y, updates = model.apply(variables, x, train=True, mutable=["batch_stats"])
        return y, updates.get("batch_stats", {})

    def per_call() -> Any:
        return flattened(freeze({"params": params, "batch_stats": stats}))

    called = "flatten and unflatten of the variables, frozen"
    return with_adam(apply, params, stats, batch, per_call, called)
