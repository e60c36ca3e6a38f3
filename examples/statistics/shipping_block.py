"""Shipping a transformer block: the norms' scales and biases become part of the maps after them.

Folds both norms of a pre-norm block into queries, keys and values, and into the first maps of the
MLP; once with layer norms and biases, once with RMS norms whose scale is stored as its distance
from 1, without. Checks the agreement, in float32 and bfloat16, and measures how long a call takes.
`python shipping_block.py --help`
"""

import time

import common
import jax
import jax.numpy as jnp
import numpy as np

from inox.folding import fold_scale
from inox.nn import LayerNorm, Module, Parameter, RMSNorm

TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}
READERS = {"attention_norm": ("query", "key", "value"), "mlp_norm": ("gate", "up")}


def linear(kernel: jax.Array, bias: jax.Array | None, x: jax.Array) -> jax.Array:
    """A map of the last axis."""
    y = x @ kernel
    return y if bias is None else y + jnp.broadcast_to(bias, y.shape)


class Map(Module):
    """A linear map with a kernel and, where one is given, a bias."""

    def __init__(self, kernel: jax.Array, bias: jax.Array | None = None) -> None:
        self.kernel = Parameter(kernel)
        self.bias = None if bias is None else Parameter(bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The map of x."""
        return linear(self.kernel(), None if self.bias is None else self.bias(), x)


class Block(Module):
    """Causal attention and a gated MLP, each with its norm before and its residual around."""

    def __init__(self, key: jax.Array, width: int, heads: int, kind: type, dtype: str) -> None:
        keys = iter(jax.random.split(key, 18))

        def normal(*shape: int) -> jax.Array:
            return jax.random.normal(next(keys), shape, dtype)

        def norm() -> Module:
            if kind is RMSNorm:
                return RMSNorm(scale=normal(width) / 4, scale_offset=1.0)
            return LayerNorm(scale=1 + normal(width) / 4, bias=normal(width) / 4)

        def linear_map(inputs: int, outputs: int) -> Map:
            bias = normal(outputs) / 4 if kind is LayerNorm else None
            return Map(normal(inputs, outputs) / inputs**0.5, bias)

        self.heads = heads
        self.attention_norm, self.mlp_norm = norm(), norm()
        self.query, self.key, self.value, self.out = (linear_map(width, width) for _ in range(4))
        self.gate, self.up = (linear_map(width, 3 * width) for _ in range(2))
        self.down = linear_map(3 * width, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The block of tokens (N, L, C)."""
        y = self.attention_norm(x)
        split = (*x.shape[:-1], self.heads, -1)
        query, key, value = (m(y).reshape(split) for m in (self.query, self.key, self.value))
        mixed = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.reshape(x.shape))
        y = self.mlp_norm(x)
        return x + self.down(jax.nn.silu(self.gate(y)) * self.up(y))


def folded(block: Block, x: jax.Array) -> Block:
    """A copy of the block whose norms only standardize, each map checked on tokens."""
    plain = jax.tree.map(lambda leaf: leaf, block)
    for name, readers in READERS.items():
        norm = getattr(block, name)
        for reader in readers:
            old = getattr(block, reader)
            bias = None if old.bias is None else old.bias()
            check = {"check": (linear, x), "tolerance": TOLERANCE[str(x.dtype)]}
            new_norm, *new = fold_scale(norm, old.kernel(), bias, **check)
            setattr(plain, reader, Map(*new))
            setattr(plain, name, new_norm)
    return plain


def times(blocks: dict[str, Block], x: jax.Array, repetitions: int) -> dict[str, float]:
    """The shortest time of a call in milliseconds, the blocks taking turns."""
    call = jax.jit(lambda block, x: block(x))
    best = dict.fromkeys(blocks, np.inf)
    for block in blocks.values():
        jax.block_until_ready(call(block, x))
    for _ in range(repetitions):
        for name, block in blocks.items():
            start = time.perf_counter()
            jax.block_until_ready(call(block, x))
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def main() -> None:
    """Folds, compares and measures."""
    chosen = common.options(__doc__, width=256, heads=4, tokens=256, repetitions=100, seed=0)
    keys = jax.random.split(jax.random.key(chosen.seed))
    print(f"{'block':24}{'difference':>12}{'arrays':>10}{'1 token':>18}{'all tokens':>18}")
    for kind in (LayerNorm, RMSNorm):
        for dtype in ("float32", "bfloat16"):
            x = jax.random.normal(keys[0], (1, chosen.tokens, chosen.width), dtype)
            block = Block(keys[1], chosen.width, chosen.heads, kind, dtype)
            blocks = {"norms": block, "folded": folded(block, x)}
            expected, found = (one(x).astype(jnp.float32) for one in blocks.values())
            difference = float(jnp.abs(found - expected).max() / jnp.abs(expected).max())
            arrays = [len(jax.tree.leaves(one)) for one in blocks.values()]
            row = f"{kind.__name__ + ' ' + dtype:24}{difference:12.1e}{arrays[0]:6} ->{arrays[1]:3}"
            for part in (x[:, :1], x):
                measured = times(blocks, part, chosen.repetitions)
                row += f"{measured['norms']:10.3f} ->{measured['folded']:6.3f}"
            print(row)


if __name__ == "__main__":
    main()
