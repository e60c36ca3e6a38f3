"""How far batch norm's running statistics are from those of the whole training set."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from data import Images
from jax import Array
from network import Network

import inox.nn as nn


class Distance(NamedTuple):
    """Relative distance of the running mean and variance of one layer after some step."""

    step: int
    mean: float
    variance: float


@jax.jit
def batch_statistics(model: Network, state: dict, pixels: Array) -> dict:
    """Returns a state whose statistics are those of the images, seen as a single batch."""
    model.train(True)
    for block in model.blocks:
        if isinstance(block.norm, nn.BatchNorm):
            # Without momentum nothing of the running statistics is kept.
            block.norm.momentum = 0.0
    _, state = model(pixels, state)
    return state


def distances(model: Network, state: dict, images: Images, step: int) -> dict[str, Distance]:
    """Returns the distance for each batch norm, by its path in the network.

    The means are compared in units of the standard deviation, ‖m̂ - m‖ / ‖√v‖, the variances by
    ‖v̂ - v‖ / ‖v‖; the norms run over the channels.
    """
    if not state:
        return {}
    exact = batch_statistics(model, state, images.pixels)
    result = {}
    for path, running in state.items():
        true = exact[path]
        deviation = jnp.linalg.norm(jnp.sqrt(true.var))
        mean = jnp.linalg.norm(running.mean - true.mean) / deviation
        variance = jnp.linalg.norm(running.var - true.var) / jnp.linalg.norm(true.var)
        result[str(path)] = Distance(step, float(mean), float(variance))
    return result
