"""A small convolutional network whose normalization can be chosen.

The convolution and the linear map are written here, in a few lines each, to show what a layer of
your own looks like: an `inox.nn.Module` whose trained arrays are wrapped in `inox.nn.Parameter`.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from options import NORMS

import inox.nn as nn

WIDTHS = (16, 32, 32, 64)
STRIDES = (1, 2, 1, 2)
MOMENTUM = 0.9


def random_kernel(key: Array, *shape: int) -> Array:
    """Returns a kernel that keeps the scale of what it maps (He et al., 2015)."""
    fan_in = math.prod(shape[:-1])
    return jax.random.normal(key, shape) * math.sqrt(2 / fan_in)


class Convolution(nn.Module):
    """A 3x3 convolution of images (N, H, W, C), followed by a bias where asked for."""

    def __init__(self, key: Array, inputs: int, outputs: int, stride: int, bias: bool):
        self.kernel = nn.Parameter(random_kernel(key, 3, 3, inputs, outputs))
        self.bias = nn.Parameter(jnp.zeros((1, 1, 1, outputs))) if bias else None
        self.stride = stride

    def __call__(self, x: Array) -> Array:
        """Returns images (N, H, W, outputs), smaller by the stride."""
        y = jax.lax.conv_general_dilated(
            x,
            self.kernel(),
            window_strides=(self.stride, self.stride),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y if self.bias is None else y + self.bias()


class Linear(nn.Module):
    """A linear map of vectors (N, C)."""

    def __init__(self, key: Array, inputs: int, outputs: int):
        self.kernel = nn.Parameter(random_kernel(key, inputs, outputs))
        self.bias = nn.Parameter(jnp.zeros((1, outputs)))

    def __call__(self, x: Array) -> Array:
        """Returns vectors (N, outputs)."""
        return x @ self.kernel() + self.bias()


def make_norm(norm: str, channels: int) -> nn.Module | None:
    """Returns the normalization layer of that name, with a scale and a bias per channel."""
    scale, bias = jnp.ones(channels), jnp.zeros(channels)
    match norm:
        case "batch":
            return nn.BatchNorm(channels, momentum=MOMENTUM, scale=scale, bias=bias)
        case "layer":
            return nn.LayerNorm(scale=scale, bias=bias)
        case "group":
            # The group norm of the paper pools each group over the image as well.
            return nn.GroupNorm(4, axis=(-3, -2, -1), scale=scale, bias=bias)
        case "none":
            return None
    raise ValueError(f"norm must be one of {', '.join(NORMS)}, found {norm!r}")


class Block(nn.Module):
    """Convolution, normalization, activation (a function of `jax.nn`, by name)."""

    def __init__(
        self, key: Array, inputs: int, outputs: int, stride: int, norm: str, activation: str
    ):
        # The norm brings its own bias, so that one in the convolution would be of no use.
        self.convolution = Convolution(key, inputs, outputs, stride, bias=norm == "none")
        self.norm = make_norm(norm, outputs)
        self.activation = activation

    def __call__(self, x: Array, state: dict) -> tuple[Array, dict]:
        """Returns the features and the state, which batch norm updates in training mode."""
        x = self.convolution(x)
        if isinstance(self.norm, nn.BatchNorm):
            # Batch norm alone has something to remember: its running statistics.
            x, state = self.norm(x, state)
        elif self.norm is not None:
            x = self.norm(x)
        return getattr(jax.nn, self.activation)(x), state


class Network(nn.Module):
    """Four blocks, the mean over the image, and a linear map to the ten digits."""

    def __init__(self, key: Array, norm: str, classes: int = 10, activation: str = "relu"):
        *keys, last = jax.random.split(key, len(WIDTHS) + 1)
        inputs = (1, *WIDTHS[:-1])
        self.blocks = [
            Block(*sizes, norm, activation)
            for sizes in zip(keys, inputs, WIDTHS, STRIDES, strict=True)
        ]
        self.head = Linear(last, WIDTHS[-1], classes)

    def __call__(self, x: Array, state: dict) -> tuple[Array, dict]:
        """Returns the logits (N, classes) and the state."""
        for block in self.blocks:
            x, state = block(x, state)
        return self.head(x.mean(axis=(1, 2))), state


def make_network(seed: int, norm: str, activation: str = "relu") -> tuple[Network, dict]:
    """Returns a network and its state: the running statistics, an empty dict without batch norm."""
    # This generator compiles in a quarter of the default one's time: seconds, for a network this
    # small. The default one would give the same numbers on every kind of device.
    key = jax.random.key(seed, impl="rbg")
    return nn.export_state(Network(key, norm, activation=activation))
