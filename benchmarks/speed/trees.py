"""Models of many layers, as JAX takes them apart and puts them together at every call."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .programs import Program

LAYERS, CHANNELS = 100, 64


class Model(NamedTuple):
    """`tree` is what a user holds, `arrays` what plain `jax.jit` takes of it."""

    tree: Any
    arrays: Any


def ours(kind: str, layers: int = LAYERS) -> Model:
    """Scale and bias in each layer; batch norms with their exported state."""
    from inox import nn

    def affine() -> dict[str, Any]:
        return {"scale": jnp.ones(CHANNELS), "bias": jnp.zeros(CHANNELS)}

    if kind == "layer":
        tree: Any = [nn.LayerNorm(**affine()) for _ in range(layers)]
    else:
        tree = nn.export_state([nn.BatchNorm(CHANNELS, **affine()) for _ in range(layers)])
    return Model(tree, tree)


def equinox(kind: str, layers: int = LAYERS) -> Model:
    """The same. The batch norms hold a name and a flag as leaves, which are parted from arrays."""
    import equinox as eqx

    if kind == "layer":
        tree: Any = [eqx.nn.LayerNorm(CHANNELS) for _ in range(layers)]
    else:

        def batch_norms() -> list[Any]:
            settings = {"axis_name": "batch", "mode": "batch"}
            return [eqx.nn.BatchNorm(CHANNELS, **settings) for _ in range(layers)]

        tree = eqx.nn.make_with_state(batch_norms)()
    return Model(tree, eqx.partition(tree, eqx.is_array)[0])


MODELS = {"ours": ours, "equinox": equinox}


def _flatten(model: Model) -> Callable[[], Any]:
    return lambda: jax.tree.flatten(model.tree)


def _unflatten(model: Model) -> Callable[[], Any]:
    leaves, structure = jax.tree.flatten(model.tree)
    return lambda: jax.tree.unflatten(structure, leaves)


def _map(model: Model) -> Callable[[], Any]:
    return lambda: jax.tree.map(lambda leaf: leaf, model.tree)


def _call(model: Model) -> Callable[[], Any]:
    compiled = jax.jit(lambda model, x: x)
    x = jnp.ones((8, CHANNELS))
    return lambda: compiled(model.arrays, x)


# What is done with a model, by its name in the results.
OPERATIONS = {"flatten": _flatten, "unflatten": _unflatten, "map": _map, "call": _call}


def program(operation: str, model: Model) -> Program:
    """The operation, to be timed. Nothing is computed, so nothing is waited for."""
    return Program(OPERATIONS[operation](model), wait=lambda _: None, clock=time.thread_time)
