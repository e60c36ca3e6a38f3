"""Models for Flax, each written once for a namespace: Flax' own, or ours with the import changed.

`convolutional` begins with a batch norm of its input; `transformer` has group, RMS and layer norms.
`MODELS[framework][whose]` holds the classes, made once so that compiled programs are found again.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from inox.interop import flax_linen, flax_nnx

WIDTH, LENGTH, CLASSES = 16, 6, 5
NAMES = ("convolutional", "transformer")
THEIRS, OURS = "theirs", "ours"


def inputs(name: str, mean: float = 0.5, batch: int = 8) -> np.ndarray:
    """Images, or vectors in place of embedded tokens."""
    rng = np.random.default_rng(1)
    shape = (batch, 8, 8, 3) if name == "convolutional" else (batch, LENGTH, WIDTH)
    return (mean + rng.standard_normal(shape)).astype(np.float32)


def labels(batch: int = 8) -> np.ndarray:
    """Random classes."""
    return np.random.default_rng(2).integers(0, CLASSES, batch)


def cross_entropy(logits: Any) -> Any:
    """The mean over the batch, for the labels above."""
    chosen = jnp.asarray(labels(logits.shape[0]))[:, None]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), chosen, 1).mean()


def nnx_models(nnx: Any) -> SimpleNamespace:
    """The models of a namespace that has what `flax.nnx` has."""
    convolution = partial(nnx.Conv, kernel_size=(3, 3), use_bias=False)

    class Convolutional(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            batch_norm = partial(nnx.BatchNorm, momentum=0.9, rngs=rngs)
            self.whiten = batch_norm(3, use_scale=False, use_bias=False)
            self.stem, self.stem_norm = convolution(3, 8, rngs=rngs), batch_norm(8)
            self.down, self.down_norm = convolution(8, WIDTH, strides=2, rngs=rngs), batch_norm(16)
            self.same, self.same_norm = convolution(WIDTH, WIDTH, rngs=rngs), batch_norm(16)
            self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.relu(self.stem_norm(self.stem(self.whiten(x))))
            x = nnx.relu(self.down_norm(self.down(x)))
            x = x + nnx.relu(self.same_norm(self.same(x)))
            return self.head(x.mean((1, 2)))

    class Block(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.before_attention = nnx.RMSNorm(WIDTH, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(2, WIDTH, decode=False, rngs=rngs)
            self.before_perceptron = nnx.LayerNorm(WIDTH, rngs=rngs)
            self.up = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
            self.down = nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = x + self.attention(self.before_attention(x))
            return x + self.down(nnx.gelu(self.up(self.before_perceptron(x))))

    class Transformer(nnx.Module):
        def __init__(self, rngs: Any, block: Any = Block) -> None:
            self.embed = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
            self.embed_norm = nnx.GroupNorm(WIDTH, num_groups=4, rngs=rngs)
            self.blocks = nnx.List([block(rngs) for _ in range(2)])
            self.head_norm = nnx.LayerNorm(WIDTH, rngs=rngs)
            self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = self.embed_norm(self.embed(x))
            for block in self.blocks:
                x = block(x)
            return self.head(self.head_norm(x).mean(1))

    return SimpleNamespace(convolutional=Convolutional, transformer=Transformer, Block=Block)


def linen_models(nn: Any) -> SimpleNamespace:
    """The models of a namespace that has what `flax.linen` has."""

    class Convolutional(nn.Module):
        @nn.compact
        def __call__(self, x: Any, train: bool) -> Any:
            norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
            convolution = partial(nn.Conv, kernel_size=(3, 3), use_bias=False)
            x = norm(use_scale=False, use_bias=False, name="whiten")(x)
            x = nn.relu(norm()(convolution(8)(x)))
            x = nn.relu(norm()(convolution(WIDTH, strides=2)(x)))
            x = x + nn.relu(norm()(convolution(WIDTH)(x)))
            return nn.Dense(CLASSES)(x.mean((1, 2)))

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = x + nn.MultiHeadDotProductAttention(2)(nn.RMSNorm()(x))
            return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(2 * WIDTH)(nn.LayerNorm()(x))))

    class Transformer(nn.Module):
        block: Any = Block

        @nn.compact
        def __call__(self, x: Any, train: bool) -> Any:
            x = nn.GroupNorm(num_groups=4)(nn.Dense(WIDTH)(x))
            for place in range(2):
                x = self.block(name=f"block_{place}")(x)
            return nn.Dense(CLASSES)(nn.LayerNorm()(x).mean(1))

    return SimpleNamespace(convolutional=Convolutional, transformer=Transformer, Block=Block)


MODELS = {
    "nnx": {THEIRS: nnx_models(nnx), OURS: nnx_models(flax_nnx)},
    "linen": {THEIRS: linen_models(linen), OURS: linen_models(flax_linen)},
}


def largest_error(found: Any, exact: Any) -> float:
    """The largest difference of two trees, over the largest value of each array."""

    def of(found: Any, exact: Any) -> float:
        found, exact = np.asarray(found, np.float64), np.asarray(exact, np.float64)
        return float(np.abs(found - exact).max() / np.abs(exact).max())

    return max(jax.tree.leaves(jax.tree.map(of, found, exact)))
