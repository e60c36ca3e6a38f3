"""A cart-pole that is balanced from raw sensors, whose offsets are far larger than their spread.

An evolution strategy trains a small network in JAX alone. The statistics of its observations are
those of a stream, of sums of squares in float32, or none; several seeds of each are compared.
`python examples/streaming/cartpole.py --help`
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inox import streaming

Array = jax.Array

# Sensors: position and speed of the cart, angle and angular speed of the pole, as they come off
# encoders that count from somewhere.
OFFSET = np.array([1e5, 0.0, -7e4, 20.0], np.float32)
UNIT = np.array([10.0, 1e-3, 1e2, 5.0], np.float32)
HIDDEN, STEPS, POPULATION, SPREAD, RATE = 8, 200, 32, 0.3, 0.3
EPSILON, CLIP = 1e-8, 10.0
COLOURS = {"stream": "#009E73", "E[x²] - E[x]²": "#D55E00", "none": "#7F7F7F"}


def move(state: Array, force: Array) -> Array:
    """20 ms of the cart-pole (Barto, Sutton & Anderson 1983), by Euler's method."""
    gravity, cart, pole, half_length = 9.8, 1.0, 0.1, 0.5
    _, speed, angle, turning = state
    sine, cosine, mass = jnp.sin(angle), jnp.cos(angle), cart + pole
    push = (force + pole * half_length * turning**2 * sine) / mass
    inertia = half_length * (4 / 3 - pole * cosine**2 / mass)
    turn = (gravity * sine - cosine * push) / inertia
    accelerate = push - pole * half_length * turn * cosine / mass
    return state + 0.02 * jnp.stack([speed, accelerate, turning, turn])


def force_of(parameters: Array, observation: Array) -> Array:
    """A network of one hidden layer: the force on the cart, up to 10 N."""
    first = parameters[: 5 * HIDDEN].reshape(5, HIDDEN)
    hidden = jnp.tanh(observation @ first[:4] + first[4])
    return 10 * jnp.tanh(hidden @ parameters[5 * HIDDEN :])


def of_stream(stream: streaming.Stream, x: Array) -> Array:
    """An observation by the statistics of the stream."""
    return streaming.normalize(stream, x, epsilon=EPSILON, clip=CLIP)


def see(stream: streaming.Stream, x: Array, alive: Array) -> streaming.Stream:
    """The stream with the observations of the episodes that were still running."""
    return streaming.update(stream, x, where=alive)


def of_sums(sums: Array, x: Array) -> Array:
    """An observation by sums of numbers and of squares, as it is often written."""
    count = jnp.maximum(sums[0], 1.0)
    mean = sums[1] / count
    var = jnp.maximum(sums[2] / count - mean**2, 0.0)
    return jnp.clip((x - mean) / jnp.sqrt(var + EPSILON), -CLIP, CLIP)


def add(sums: Array, x: Array, alive: Array) -> Array:
    """The sums with more observations."""
    seen = jnp.where(alive[..., None], x, 0.0)
    count = jnp.broadcast_to(jnp.sum(alive, dtype=jnp.float32), (4,))
    return sums + jnp.stack([count, seen.sum((0, 1)), (seen**2).sum((0, 1))])


Way = tuple[Callable[[], Any], Callable[[Any, Array], Array], Callable[[Any, Array, Array], Any]]
WAYS: dict[str, Way] = {
    "stream": (lambda: streaming.init(jnp.zeros(4)), of_stream, see),
    "E[x²] - E[x]²": (lambda: jnp.zeros((3, 4)), of_sums, add),
    "none": (lambda: jnp.zeros(()), lambda _, x: x, lambda seen, x, alive: seen),
}


class Draws(NamedTuple):
    """What is drawn for a run: the first network, changes to it, and how episodes begin."""

    network: Any
    noise: Any
    begin: Any


def draw_numbers(seeds: int, generations: int) -> Draws:
    """The random numbers of several runs, by NumPy: compiling JAX's takes longer than a run."""
    generator = np.random.default_rng(0)
    numbers = generator.standard_normal((seeds, 1 + generations * POPULATION // 2, 6 * HIDDEN))
    begin = generator.uniform(-0.05, 0.05, (seeds, generations, POPULATION, 4))
    noise = numbers[:, 1:].reshape(seeds, generations, POPULATION // 2, -1)
    return Draws(*(a.astype(np.float32) for a in (0.1 * numbers[:, 0], noise, begin)))


def train(way: str, draws: Draws) -> Array:
    """The mean length of an episode in each generation, of 200 steps at most."""
    start, normalize, include = WAYS[way]

    def episode(parameters: Array, seen: Any, begin: Array) -> tuple[Array, Array]:
        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Any]:
            state, alive = carry
            observation = OFFSET + UNIT * state
            state = move(state, force_of(parameters, normalize(seen, observation)))
            still = alive & (jnp.abs(state[0]) < 2.4) & (jnp.abs(state[2]) < 0.21)
            return (state, still), (observation, alive)

        return jax.lax.scan(step, (begin, jnp.array(True)), length=STEPS)[1]

    def generation(carry: Any, drawn: tuple[Array, Array]) -> tuple[Any, Array]:
        (parameters, seen), (half, begin) = carry, drawn
        noise = jnp.concatenate([half, -half])
        episodes = jax.vmap(episode, (0, None, 0))
        observations, alive = episodes(parameters[None] + SPREAD * noise, seen, begin)
        lengths = alive.sum(1).astype(jnp.float32)
        fitness = (lengths - lengths.mean()) / (lengths.std() + 1e-3)
        parameters = parameters + RATE * (fitness @ noise) / POPULATION
        return (parameters, include(seen, observations, alive)), lengths.mean()

    first = (draws.network, start())
    return jax.lax.scan(generation, first, (draws.noise, draws.begin))[1]


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """The mean over the seeds, and their range."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for way, lengths in curves.items():
        steps = np.arange(1, lengths.shape[1] + 1)
        axis.fill_between(steps, lengths.min(0), lengths.max(0), color=COLOURS[way], alpha=0.15)
        axis.plot(steps, lengths.mean(0), color=COLOURS[way], label=way)
    axis.set(xlabel="generation", ylabel=f"length of an episode (of {STEPS})", ylim=(0, STEPS))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(title="statistics of observations")
    figure.savefig(path, dpi=150)
    print(f"Figure: {path}")


def main() -> None:
    """Trains each way from several seeds, and prints the length of the last episodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=30, help="default: 30")
    parser.add_argument("--seeds", type=int, default=5, help="default: 5")
    parser.add_argument("--figure", type=Path, help="a file to draw the curves into")
    chosen = parser.parse_args()
    draws = draw_numbers(chosen.seeds, chosen.generations)
    curves: dict[str, np.ndarray] = {}
    print(f"{'statistics':14} {'mean':>6} {'worst':>6}   steps, last 5 generations, of {STEPS}")
    for way in WAYS:
        run = jax.jit(jax.vmap(functools.partial(train, way)))
        curves[way] = np.asarray(run(draws))
        last = curves[way][:, -5:].mean(1)
        print(f"{way:14} {last.mean():6.1f} {last.min():6.1f}", flush=True)
    if chosen.figure:
        draw(curves, chosen.figure)


if __name__ == "__main__":
    main()
