"""Diffusion of points in the plane, with a norm whose scale and bias come from the time.

The network learns to take noise off points of a ring. It is told how much noise there is through
its norms alone: at each one, scale and bias are made from the time ("adaptive layer norm"), in
float32, while the branches may be computed in bfloat16. Its last map starts at 0, so that training
begins with the identity. `python examples/diffusion/run.py --help`
"""

import argparse
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from inox.functional import layer_norm

Array = jax.Array
WIDTH, LAYERS, TIMES = 64, 3, 50


class Block(NamedTuple):
    """The parameters of one layer."""

    adapt: Array  # from the time: scale, bias and gate
    up: Array
    down: Array


class Model(NamedTuple):
    """All parameters."""

    enter: Array
    blocks: tuple[Block, ...]
    leave: Array


def initial(key: Array) -> Model:
    """Parameters before training; each block is the identity, as its gate is 0."""
    keys = jax.random.split(key, 1 + 2 * LAYERS)

    def matrix(key: Array, rows: int, columns: int) -> Array:
        return jax.random.normal(key, (rows, columns)) / np.sqrt(rows)

    blocks = tuple(
        Block(jnp.zeros((WIDTH, 3 * WIDTH)), matrix(up, WIDTH, WIDTH), matrix(down, WIDTH, WIDTH))
        for up, down in keys[1:].reshape(LAYERS, 2)
    )
    return Model(matrix(keys[0], 2, WIDTH), blocks, jnp.zeros((WIDTH, 2)))


def embedded(time: Array) -> Array:
    """Sines and cosines of the time, which goes from 0 to 1."""
    angles = time[:, None] * 2.0 ** jnp.arange(WIDTH // 2)[None] / 8
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


def noise_in(model: Model, points: Array, time: Array, dtype: Any = jnp.float32) -> Array:
    """What the network takes for the noise in some points."""
    condition = embedded(time)
    residual = points @ model.enter
    for block in model.blocks:
        scale, bias, gate = jnp.split(condition @ block.adapt, 3, -1)
        # In float32, however few digits the branch has: 1 + 0.001 is 1 in bfloat16.
        x = layer_norm(residual.astype(dtype), scale=1 + scale, bias=bias)
        branch = jax.nn.silu(x @ block.up.astype(dtype)) @ block.down.astype(dtype)
        residual = residual + gate * branch.astype(jnp.float32)
    return layer_norm(residual) @ model.leave


def ring(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points of a ring of radius 1."""
    angles = rng.uniform(0, 2 * np.pi, count)
    points = np.stack([np.cos(angles), np.sin(angles)], -1)
    return (points + 0.05 * rng.standard_normal(points.shape)).astype(np.float32)


def train(steps: int, seed: int, dtype: Any = jnp.float32) -> Model:
    """The network after some steps of 256 points."""
    rng = np.random.default_rng(seed)
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, max(steps, 1)))

    def loss(model: Model, points: Array, noise: Array, time: Array) -> Array:
        angle = time[:, None] * (np.pi / 2)
        noisy = jnp.cos(angle) * points + jnp.sin(angle) * noise
        return jnp.mean((noise_in(model, noisy, time, dtype) - noise) ** 2)

    @jax.jit
    def step(model: Model, memory: Any, *batch: Array) -> tuple[Model, Any]:
        updates, memory = optimizer.update(jax.grad(loss)(model, *batch), memory)
        return optax.apply_updates(model, updates), memory

    model = initial(jax.random.key(seed))
    memory = optimizer.init(model)
    for _ in range(steps):
        noise = rng.standard_normal((256, 2)).astype(np.float32)
        time = rng.uniform(0, 1, 256).astype(np.float32)
        model, memory = step(model, memory, ring(rng, 256), noise, time)
    return model


@jax.jit
def sample(model: Model, noise: Array) -> Array:
    """Points out of noise, by taking it off in equal steps of the angle (deterministic)."""
    angles = jnp.linspace(1.0, 0.0, TIMES + 1) * (np.pi / 2) * 0.98

    def back(points: Array, pair: Array) -> tuple[Array, None]:
        now, next_ = pair
        time = jnp.full(points.shape[:1], now / (np.pi / 2))
        noise = noise_in(model, points, time)
        clean = (points - jnp.sin(now) * noise) / jnp.cos(now)
        return jnp.cos(next_) * clean + jnp.sin(next_) * noise, None

    return jax.lax.scan(back, noise, jnp.stack([angles[:-1], angles[1:]], -1))[0]


def distance(points: Array) -> float:
    """How far points are from the ring, on average."""
    return float(jnp.abs(jnp.linalg.norm(points, axis=-1) - 1).mean())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="steps of 256 points (2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="compute the branches in bfloat16")
    options = parser.parse_args()
    model = train(options.steps, options.seed, jnp.bfloat16 if options.bfloat16 else jnp.float32)
    noise = jax.random.normal(jax.random.key(options.seed), (1000, 2))
    print(f"mean distance from the ring: noise {distance(noise):.3f}", end=", ")
    print(f"points out of it {distance(sample(model, noise)):.3f}")


if __name__ == "__main__":
    main()
