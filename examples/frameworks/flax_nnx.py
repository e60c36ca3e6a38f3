"""A Flax NNX model with one import changed: trained, and put into evaluation mode, as before.

With `--theirs` the same file runs with Flax' norms, from the same parameters; on data as tame as
these the two agree. `python examples/frameworks/flax_nnx.py --help`
"""

import argparse

import jax
import jax.numpy as jnp
import optax
from flax import nnx as own_nnx

from inox.interop import flax_nnx as inox_nnx


def network(nnx, rngs: own_nnx.Rngs) -> own_nnx.Module:
    """Three layers with batch norm; whatever `nnx` is, all else is Flax'."""
    return own_nnx.Sequential(
        nnx.BatchNorm(3, momentum=0.9, rngs=rngs),
        own_nnx.Linear(3, 16, rngs=rngs),
        nnx.BatchNorm(16, momentum=0.9, rngs=rngs),
        own_nnx.relu,
        own_nnx.Linear(16, 1, rngs=rngs),
    )


@own_nnx.jit
def step(model: own_nnx.Module, optimizer: own_nnx.Optimizer, x, target):
    """One step of training; the running statistics move in the model."""

    def loss(model):
        return jnp.mean((model(x)[:, 0] - target) ** 2)

    value, gradient = own_nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradient)
    return value


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="steps of training (100)")
    parser.add_argument("--theirs", action="store_true", help="with Flax' own norms")
    options = parser.parse_args()
    model = network(own_nnx if options.theirs else inox_nnx, own_nnx.Rngs(0))
    optimizer = own_nnx.Optimizer(model, optax.adam(1e-2), wrt=own_nnx.Param)
    spread = jax.random.normal(jax.random.key(0), (512, 3))
    x, target = 3 + spread, spread[:, 0] * spread[:, 1]
    for _ in range(options.steps):
        loss = step(model, optimizer, x, target)
    model.eval()
    error = jnp.mean((model(x)[:, 0] - target) ** 2)
    print(f"mean squared error: training mode {loss:.3f}, evaluation mode {error:.3f}")


if __name__ == "__main__":
    main()
