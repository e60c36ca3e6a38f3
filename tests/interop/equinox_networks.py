"""Two real networks, built from `equinox.nn` or from a module in its place."""

import equinox as eqx
import jax
import jax.numpy as jnp


class Residual(eqx.Module):
    """Two convolutions with batch norm, added to what came in (He et al., 2016)."""

    convolutions: list
    norms: list
    shortcut: eqx.nn.Conv2d | None

    def __init__(self, nn, channels_in, channels, stride, mode, key):
        keys = jax.random.split(key, 3)
        sizes = ((channels_in, stride), (channels, 1))
        self.convolutions = [
            nn.Conv2d(size, channels, 3, step, padding=1, use_bias=False, key=key)
            for (size, step), key in zip(sizes, keys[:2], strict=True)
        ]
        self.norms = [nn.BatchNorm(channels, "batch", mode=mode, momentum=0.9) for _ in range(2)]
        self.shortcut = None
        if stride > 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, key=keys[2])

    def __call__(self, x, state):
        y = x
        for index, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            y, state = norm(convolution(y), state)
            y = jax.nn.relu(y) if index == 0 else y
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x))), state


class ResidualNetwork(eqx.Module):
    """A stem, two residual blocks, group norm and a linear head.

    No bias stands before a batch norm, which takes it away: it would be trained by rounding errors.
    """

    stem: eqx.nn.Sequential
    blocks: list
    group: eqx.Module
    head: eqx.nn.Linear

    def __init__(self, nn, key, mode="batch", classes=4):
        keys = jax.random.split(key, 4)
        self.stem = nn.Sequential(
            [
                nn.Conv2d(3, 8, 3, padding=1, use_bias=False, key=keys[0]),
                nn.BatchNorm(8, "batch", mode=mode, momentum=0.9),
                nn.Lambda(jax.nn.relu),
            ]
        )
        sizes = ((8, 8, 1), (8, 16, 2))
        self.blocks = [
            Residual(nn, *size, mode, key) for size, key in zip(sizes, keys[1:3], strict=True)
        ]
        self.group = nn.GroupNorm(4, 16)
        self.head = nn.Linear(16, classes, key=keys[3])

    def __call__(self, x, state):
        x, state = self.stem(x, state)
        for block in self.blocks:
            x, state = block(x, state)
        return self.head(jnp.mean(self.group(x), (1, 2))), state


class Block(eqx.Module):
    """Attention and a perceptron, each after a norm and added to what came in."""

    attention: eqx.nn.MultiheadAttention
    perceptron: eqx.nn.MLP
    norms: tuple

    def __init__(self, nn, size, key):
        first, last = jax.random.split(key)
        self.attention = nn.MultiheadAttention(2, size, key=first)
        self.perceptron = nn.MLP(size, size, 2 * size, 1, key=last)
        self.norms = (nn.LayerNorm(size), nn.RMSNorm(size))

    def __call__(self, x):
        y = jax.vmap(self.norms[0])(x)
        x = x + self.attention(y, y, y)
        return x + jax.vmap(self.perceptron)(jax.vmap(self.norms[1])(x))


class Transformer(eqx.Module):
    """Blocks stacked in one tree, run by `lax.scan`, each recomputed in the backward pass."""

    embedding: eqx.nn.Embedding
    blocks: Block
    norm: eqx.Module
    head: eqx.nn.Linear

    def __init__(self, nn, key, size=16, depth=3, tokens=11):
        first, middle, last = jax.random.split(key, 3)
        self.embedding = nn.Embedding(tokens, size, key=first)
        keys = jax.random.split(middle, depth)
        self.blocks = eqx.filter_vmap(lambda key: Block(nn, size, key))(keys)
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, tokens, key=last)

    def __call__(self, tokens):
        arrays, static = eqx.partition(self.blocks, eqx.is_array)

        @eqx.filter_checkpoint
        def step(x, arrays):
            return eqx.combine(arrays, static)(x)

        x, _ = jax.lax.scan(
            lambda x, arrays: (step(x, arrays), None), jax.vmap(self.embedding)(tokens), arrays
        )
        return jax.vmap(self.head)(jax.vmap(self.norm)(x))
