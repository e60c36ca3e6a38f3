"""Equinox: a residual convolutional net with batch norm, and a transformer with layer norm.

One sample under `jax.vmap`, and channels first, as Equinox has it.
"""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from .framework_models import CLASSES, DEPTH, HEADS, WIDTH, Steps, images, tokens
from .framework_steps import flattened, with_adam
from .networks import STAGES


def convolutional(nn: Any) -> Steps:
    """Stages of a convolution and a residual one, each with batch norm."""

    class Stage(eqx.Module):
        convolutions: list[Any]
        norms: list[Any]

        def __init__(self, before: int, channels: int, stride: int, key: Any) -> None:
            sizes = (before, stride), (channels, 1)
            self.convolutions = [
                nn.Conv2d(size, channels, 3, step, padding="SAME", use_bias=False, key=key)
                for (size, step), key in zip(sizes, jax.random.split(key), strict=True)
            ]
            self.norms = [nn.BatchNorm(channels, "batch", mode="batch") for _ in sizes]

        def __call__(self, x: Any, state: Any) -> tuple[Any, Any]:
            x, state = self.norms[0](self.convolutions[0](x), state)
            x = jax.nn.relu(x)
            y, state = self.norms[1](self.convolutions[1](x), state)
            return x + jax.nn.relu(y), state

    class Network(eqx.Module):
        stages: list[Any]
        head: Any

        def __init__(self, key: Any) -> None:
            before = (3, *(channels for channels, _ in STAGES))
            *keys, last = jax.random.split(key, len(before))
            self.stages = [
                Stage(c, *stage, k) for c, stage, k in zip(before, STAGES, keys, strict=False)
            ]
            self.head = nn.Linear(before[-1], CLASSES, key=last)

        def __call__(self, x: Any, state: Any) -> tuple[Any, Any]:
            for stage in self.stages:
                x, state = stage(x, state)
            return self.head(x.mean((1, 2))), state

    x, labels = images()
    return _steps(Network, (np.moveaxis(x, -1, 1).copy(), labels))


def transformer(nn: Any) -> Steps:
    """Blocks of attention and a perceptron with layer norm before each, and one at the end."""

    class Block(eqx.Module):
        before_attention: Any
        attention: Any
        before_perceptron: Any
        perceptron: Any

        def __init__(self, key: Any) -> None:
            first, last = jax.random.split(key)
            self.before_attention = nn.LayerNorm(WIDTH)
            self.attention = nn.MultiheadAttention(HEADS, WIDTH, key=first)
            self.before_perceptron = nn.LayerNorm(WIDTH)
            self.perceptron = nn.MLP(WIDTH, WIDTH, 4 * WIDTH, 1, jax.nn.gelu, key=last)

        def __call__(self, x: Any) -> Any:
            y = jax.vmap(self.before_attention)(x)
            x = x + self.attention(y, y, y)
            return x + jax.vmap(self.perceptron)(jax.vmap(self.before_perceptron)(x))

    class Network(eqx.Module):
        blocks: list[Any]
        norm: Any
        head: Any

        def __init__(self, key: Any) -> None:
            *keys, last = jax.random.split(key, DEPTH + 1)
            self.blocks = [Block(key) for key in keys]
            self.norm = nn.LayerNorm(WIDTH)
            self.head = nn.Linear(WIDTH, CLASSES, key=last)

        def __call__(self, x: Any, state: Any) -> tuple[Any, Any]:
            for block in self.blocks:
                x = block(x)
            return self.head(jax.vmap(self.norm)(x).mean(0)), state

    return _steps(Network, tokens())


def _steps(network: Any, batch: Any) -> Steps:
    """The arrays of the model are trained; what else it has is compiled in."""
    model, state = eqx.nn.make_with_state(network)(jax.random.key(0))
    arrays, rest = eqx.partition(model, eqx.is_array)

    def apply(arrays: Any, state: Any, x: Any, train: bool) -> tuple[Any, Any]:
        model = eqx.nn.inference_mode(eqx.combine(arrays, rest), not train)
        return jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(x, state)

    def per_call() -> Any:
        return flattened((arrays, state))

    called = "flatten and unflatten of model and state"
    return with_adam(apply, arrays, state, batch, per_call, called)
