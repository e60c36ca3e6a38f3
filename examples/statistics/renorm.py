"""Why batch renorm: values of states, learnt from a few episodes at a time.

A point on a ring is pushed around at random; its value is the discounted sum of the rewards it
will collect. A network learns the value from 16 states a step, 8 consecutive ones of each of 2
episodes, as reinforcement learning gives them: they resemble each other far more than the states
of all episodes do. Batch norm normalizes them by their own mean and deviation, so that it is taken
out of its input where on the ring the episodes take place, and in evaluation mode it is another
function. Batch renorm corrects for that. `python renorm.py --help`
"""

import itertools

import common
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import inox.nn as nn

EPISODES, LENGTH, WIDTH, DISCOUNT = 2, 8, 64, 0.9
STEPS_OF_BATCH_NORM = 200


def features(angle: np.ndarray) -> np.ndarray:
    """What the network is given of a position on the ring: cosine and sine."""
    return np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)


def episodes(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Walks from anywhere on the ring: states (count, LENGTH, 2) and their returns."""
    horizon = LENGTH + 60  # the discount makes what comes later small
    start = generator.uniform(0, 2 * np.pi, (count, 1))
    angle = start + np.cumsum(0.15 * generator.standard_normal((count, horizon)), axis=1)
    reward = np.sin(2 * angle)
    returns = np.zeros((count, horizon + 1))
    for time in reversed(range(horizon)):
        returns[:, time] = reward[:, time] + DISCOUNT * returns[:, time + 1]
    return features(angle[:, :LENGTH]), returns[:, :LENGTH].astype(np.float32)


class Value(nn.Module):
    """Two hidden layers, each with a norm, and a number."""

    def __init__(self, norm: str, seed: int):
        sizes, keys = (2, WIDTH, WIDTH, 1), jax.random.split(jax.random.key(seed), 3)
        self.weights = [
            nn.Parameter(jax.random.normal(key, pair) * np.sqrt(2 / pair[0], dtype=np.float32))
            for key, pair in zip(keys, itertools.pairwise(sizes), strict=True)
        ]
        kinds = {
            "batch norm": lambda: nn.BatchNorm(WIDTH, **affine()),
            "batch renorm": lambda: nn.BatchRenorm(WIDTH, steps=STEPS_OF_BATCH_NORM, **affine()),
        }
        self.norms = [kinds[norm]() if norm in kinds else None for _ in range(2)]

    def __call__(self, x, state):
        """Returns the values (N,) and the state."""
        *hidden, last = self.weights
        for weight, norm in zip(hidden, self.norms, strict=True):
            x = x @ weight()
            if norm is not None:
                x, state = norm(x, state)
            x = jax.nn.relu(x)
        return (x @ last())[:, 0], state


def affine() -> dict:
    """Scale and bias of a norm."""
    return {"scale": jnp.ones(WIDTH), "bias": jnp.zeros(WIDTH)}


def train(norm: str, seed: int, steps: int, every: int) -> list[tuple[int, float]]:
    """Learns, and returns the mean squared error in evaluation mode along the way."""
    model, state = nn.export_state(Value(norm, seed))
    optimizer = optax.adam(1e-3)
    memory = optimizer.init(model)
    states, returns = episodes(np.random.default_rng(seed), EPISODES * steps)
    states = states.reshape(steps, EPISODES * LENGTH, 2)
    returns = returns.reshape(steps, EPISODES * LENGTH)
    # The error is measured on other episodes, with one network for all their states.
    test_states, test_returns = episodes(np.random.default_rng(1000), 400)

    @jax.jit
    def step(model, state, memory, x, target):
        def loss(model):
            value, after = model(x, state)
            return jnp.mean((value - target) ** 2), after

        gradient, after = jax.grad(loss, has_aux=True)(model)
        updates, memory = optimizer.update(gradient, memory)
        return optax.apply_updates(model, updates), after, memory

    @jax.jit
    def error(model, state):
        model.train(False)
        value, _ = model(test_states.reshape(-1, 2), state)
        return jnp.mean((value - test_returns.reshape(-1)) ** 2)

    errors = []
    for index in range(steps):
        model, state, memory = step(model, state, memory, states[index], returns[index])
        if (index + 1) % every == 0:
            errors.append((index + 1, float(error(model, state))))
    return errors


def main() -> None:
    """Trains with each norm from several seeds, prints the errors and draws the curves."""
    chosen = common.options(__doc__, steps=3000, seeds=5)
    every = max(1, chosen.steps // 60)
    colours = {"batch renorm": common.GREEN, "batch norm": common.ORANGE, "no norm": common.GREY}
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    _, returns = episodes(np.random.default_rng(1000), 400)
    variance = float(np.var(returns))
    print(f"Error in evaluation mode as a share of the returns' variance, {variance:.3f}")
    print(
        f"{'norm':14} {'median':>8} {'best':>8} {'worst':>8}  of {chosen.seeds} seeds, at the end"
    )
    for norm, colour in colours.items():
        curves = [train(norm, seed, chosen.steps, every) for seed in range(chosen.seeds)]
        shares = np.array([[error / variance for _, error in curve] for curve in curves])
        # The last tenth averaged: the error of batch norm jumps from step to step.
        final = shares[:, -max(1, shares.shape[1] // 10) :].mean(axis=1)
        print(f"{norm:14} {np.median(final):8.3f} {final.min():8.3f} {final.max():8.3f}")
        steps = [step for step, _ in curves[0]]
        axis.plot(steps, np.median(shares, axis=0), color=colour, label=norm)
        axis.fill_between(steps, shares.min(0), shares.max(0), color=colour, alpha=0.2, linewidth=0)
    label = "batch renorm begins to correct"
    axis.axvline(STEPS_OF_BATCH_NORM, color="0.4", linestyle=":", linewidth=1, label=label)
    axis.set(
        xlabel=f"step, on {LENGTH} consecutive states of each of {EPISODES} episodes",
        ylabel="squared error in evaluation mode,\nshare of the variance",
        yscale="log",
    )
    common.plain_ticks(axis.yaxis)
    axis.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.42))
    common.save(figure, chosen.out / "renorm.png")


if __name__ == "__main__":
    main()
