"""An Equinox model with one import changed: batched by `vmap`, trained, evaluated, as before.

With `--theirs` the same file runs with Equinox' norms: its batch norm in mode "batch" evaluates
with a variance that is far off until a few hundred steps have passed.
`python examples/frameworks/equinox_model.py --help`
"""

import argparse

import equinox
import jax
import jax.numpy as jnp
import optax

from inox.interop import equinox as inox_nn


def network(nn, key: jax.Array):
    """Two layers with batch norm, and its state; whatever `nn` is, all else is Equinox'."""
    first, second = jax.random.split(key)
    layers = [
        equinox.nn.Linear(3, 16, key=first),
        nn.BatchNorm(16, "batch", mode="batch"),
        equinox.nn.Lambda(jax.nn.relu),
        equinox.nn.Linear(16, 1, key=second),
    ]
    return equinox.nn.make_with_state(equinox.nn.Sequential)(layers)


def applied(model, state, x):
    """The model on a batch, one example at a time under `vmap`."""
    batched = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    y, state = batched(x, state)
    return y[:, 0], state


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30, help="steps of training (30)")
    parser.add_argument("--theirs", action="store_true", help="with Equinox' own norms")
    options = parser.parse_args()
    model, state = network(equinox.nn if options.theirs else inox_nn, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (512, 3))
    target = x[:, 0] * x[:, 1]
    optimizer = optax.adam(3e-2)
    memory = optimizer.init(equinox.filter(model, equinox.is_inexact_array))

    @equinox.filter_jit
    def step(model, state, memory):
        def loss(model):
            y, after = applied(model, state, x)
            return jnp.mean((y - target) ** 2), after

        (value, after), gradient = equinox.filter_value_and_grad(loss, has_aux=True)(model)
        updates, memory = optimizer.update(gradient, memory)
        return equinox.apply_updates(model, updates), after, memory, value

    for _ in range(options.steps):
        model, state, memory, loss = step(model, state, memory)
    y, _ = applied(equinox.nn.inference_mode(model), state, x)
    error = jnp.mean((y - target) ** 2)
    print(f"mean squared error: training mode {loss:.3f}, evaluation mode {error:.3f}")


if __name__ == "__main__":
    main()
