"""Training steps of two networks whose norm is exchanged: (parameters, x, target) -> parameters.

A step is the loss, its gradient and plain gradient descent, compiled as one, with the parameters'
buffers donated. Batch norm normalizes by the batch; running averages are left out for everybody.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .cells import TIMES, Cell

Norm = Callable[..., Any]
# Small enough that no network leaves the range of ordinary numbers, with norms or without.
LEARNING_RATE = 1e-3


class Network(NamedTuple):
    """What is needed to make and run training steps."""

    title: str
    parameters: Callable[[np.random.Generator], Any]
    loss: Callable[..., Any]
    batch: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


WIDTH, DEPTH, HEADS, SEQUENCE = 512, 4, 8, (8, 256)


def _matrix(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Gaussian, of a size that keeps the scale of what is multiplied."""
    fan_in = int(np.prod(shape[:-1]))
    return rng.normal(0, fan_in**-0.5, shape).astype(np.float32)


def _affine(channels: int) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(channels, np.float32), np.zeros(channels, np.float32)


def transformer_parameters(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Blocks of attention and a perceptron, with a norm before each, and a norm at the end."""
    blocks: list[dict[str, Any]] = [
        {
            "before attention": _affine(WIDTH),
            "qkv": _matrix(rng, WIDTH, 3 * WIDTH),
            "out": _matrix(rng, WIDTH, WIDTH) / 4,
            "before perceptron": _affine(WIDTH),
            "up": _matrix(rng, WIDTH, 4 * WIDTH),
            "down": _matrix(rng, 4 * WIDTH, WIDTH) / 4,
        }
        for _ in range(DEPTH)
    ]
    return [*blocks, {"at the end": _affine(WIDTH), "head": _matrix(rng, WIDTH, WIDTH)}]


def transformer_loss(make: Callable[[Cell], Norm], parameters: Any, x: Any, target: Any) -> Any:
    """Mean square error of the last layer."""
    norm = make(Cell("layer", x.shape, "float32"))
    *blocks, last = parameters
    for block in blocks:
        h = norm(x, *block["before attention"])
        q, k, v = jnp.split((h @ block["qkv"]).reshape(*SEQUENCE, HEADS, -1), 3, axis=-1)
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + attended.reshape(x.shape) @ block["out"]
        h = norm(x, *block["before perceptron"])
        x = x + jax.nn.gelu(h @ block["up"]) @ block["down"]
    y = norm(x, *last["at the end"]) @ last["head"]
    return jnp.mean((y - target) ** 2)


def tokens(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in place of embedded tokens."""
    shape = (*SEQUENCE, WIDTH)
    return rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)


# Channels and stride of each pair of convolutions; the first of a pair has the stride.
STAGES = ((32, 1), (64, 2), (128, 2))


def convolutional_parameters(rng: np.random.Generator) -> dict[str, Any]:
    """A stem, stages of a convolution and a residual one, and a linear classifier."""
    stages, before = [], 3
    for channels, _ in STAGES:
        kernels = (_matrix(rng, 3, 3, before, channels), _matrix(rng, 3, 3, channels, channels))
        stages.append([(kernel, _affine(channels)) for kernel in kernels])
        before = channels
    return {"stages": stages, "head": _matrix(rng, before, 10)}


def convolutional_loss(make: Callable[[Cell], Norm], parameters: Any, x: Any, labels: Any) -> Any:
    """Cross entropy; convolution, norm, relu, and norm, relu, residual in turn."""

    def convolved(x: Any, kernel: Any, stride: int) -> Any:
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=dimensions
        )

    def normed(x: Any, affine: Any) -> Any:
        return jax.nn.relu(make(Cell("batch", x.shape, "float32"))(x, *affine))

    for stage, (_, stride) in zip(parameters["stages"], STAGES, strict=True):
        (first, first_affine), (second, second_affine) = stage
        x = normed(convolved(x, first, stride), first_affine)
        x = x + normed(convolved(x, second, 1), second_affine)
    logits = x.mean((1, 2)) @ parameters["head"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


def images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noise with random labels."""
    x = rng.normal(size=(64, 32, 32, 3)).astype(np.float32)
    return x, rng.integers(0, 10, 64).astype(np.int32)


NETWORKS = {
    "transformer": Network(
        f"transformer {DEPTH}{TIMES}{WIDTH} on {SEQUENCE}, layer norm",
        transformer_parameters,
        transformer_loss,
        tokens,
    ),
    "convolutional": Network(
        "convolutional net on (64, 32, 32, 3), batch norm",
        convolutional_parameters,
        convolutional_loss,
        images,
    ),
}


class Training:
    """A network in training; `clock` tells wall time or the time of all cores together."""

    def __init__(self, network: Network, make: Callable[[Cell], Norm]) -> None:
        rng = np.random.default_rng(0)
        self._parameters = jax.device_put(network.parameters(rng))
        self._batch = jax.device_put(network.batch(rng))
        self.cpu_seconds: list[float] = []

        def step(parameters: Any, x: Any, target: Any) -> tuple[Any, Any]:
            loss, gradient = jax.value_and_grad(lambda p: network.loss(make, p, x, target))(
                parameters
            )
            return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradient), loss

        self._step = jax.jit(step, donate_argnums=0)

    def step(self) -> float:
        """One step; its loss before."""
        self._parameters, loss = self._step(self._parameters, *self._batch)
        return float(jax.block_until_ready(loss))

    def seconds(self, calls: int = 1) -> float:
        """Wall time of a step; the time of all cores is kept in `cpu_seconds`."""
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(calls):
            jax.block_until_ready(self._step_result())
        self.cpu_seconds.append((time.process_time() - cpu_start) / calls)
        return (time.perf_counter() - start) / calls

    def _step_result(self) -> Any:
        self._parameters, loss = self._step(self._parameters, *self._batch)
        return self._parameters, loss
