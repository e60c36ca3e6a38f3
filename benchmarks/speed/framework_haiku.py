"""Haiku: a residual convolutional net with batch norm, and a transformer with layer norm."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax

from .framework_models import CLASSES, DEPTH, HEADS, WIDTH, Steps, images, tokens
from .framework_steps import flattened, with_adam
from .networks import STAGES


def convolutional(hk: Any) -> Steps:
    """Stages of a convolution and a residual one, each with batch norm."""

    def network(x: Any, is_training: bool) -> Any:
        def normed(x: Any, channels: int, stride: int) -> Any:
            y = hk.Conv2D(channels, 3, stride, with_bias=False)(x)
            return jax.nn.relu(hk.BatchNorm(True, True, 0.99)(y, is_training))

        for channels, stride in STAGES:
            x = normed(x, channels, stride)
            x = x + normed(x, channels, 1)
        return hk.Linear(CLASSES)(x.mean((1, 2)))

    return _steps(hk, network, images())


def resnet(hk: Any) -> Steps:
    """Haiku's own ResNet-18, which knows its norms by itself: ours take their place inside."""
    norms = getattr(hk, "replaced", nullcontext)

    def network(x: Any, is_training: bool) -> Any:
        with norms():  # drawn at random, as logits of zeros would compare equal
            return hk.nets.ResNet18(CLASSES, logits_config={"w_init": None})(x, is_training)

    return _steps(hk, network, images())


def transformer(hk: Any) -> Steps:
    """Blocks of attention and a perceptron with layer norm before each, and one at the end."""

    def network(x: Any, is_training: bool) -> Any:
        def normed(x: Any) -> Any:
            return hk.LayerNorm(-1, create_scale=True, create_offset=True)(x)

        drawn = hk.initializers.VarianceScaling()
        for _ in range(DEPTH):
            y = normed(x)
            x = x + hk.MultiHeadAttention(HEADS, WIDTH // HEADS, w_init=drawn)(y, y, y)
            x = x + hk.Linear(WIDTH)(jax.nn.gelu(hk.Linear(4 * WIDTH)(normed(x))))
        return hk.Linear(CLASSES)(normed(x).mean(1))

    return _steps(hk, network, tokens())


def _steps(hk: Any, network: Callable[[Any, bool], Any], batch: Any) -> Steps:
    """Of the transformed network; its first state has the averages of the batch."""
    initialized, applied = hk.transform_with_state(network)
    parameters, state = initialized(jax.random.key(0), batch[0], True)

    def apply(parameters: Any, state: Any, x: Any, train: bool) -> tuple[Any, Any]:
        return applied(parameters, state, None, x, train)

    def per_call() -> Any:
        return flattened((parameters, state))

    called = "flatten and unflatten of parameters and state"
    return with_adam(apply, parameters, state, batch, per_call, called)
