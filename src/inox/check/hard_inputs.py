"""Data that is hard on a normalization: a mean far above the spread, tiny spreads, constants."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .layers import Layer

Arrays = np.ndarray[Any, Any]
# (generator, shape, axes of a slice, distance from 1 to the next number) -> x
Recipe = Callable[[np.random.Generator, tuple[int, ...], tuple[int, ...], float], Arrays]

WIDE_RANGE = ("float32", "bfloat16")
EVERY = (*WIDE_RANGE, "float16")


class HardInput(NamedTuple):
    """A kind of data.

    Args:
        name: What a report calls it.
        recipe: Makes x in float64.
        epsilon: The epsilon of the norm.
        dtypes: Those that can hold the data.
        dominated: Whether one element makes up most of the variance of a slice.
        offset: The mean of dy.
    """

    name: str
    recipe: Recipe
    epsilon: float = 1e-5
    dtypes: tuple[str, ...] = EVERY
    dominated: bool = False
    offset: float = 0.0


def _gaussian(mean: float, spread: float) -> Recipe:
    return lambda rng, shape, axes, eps: mean + spread * rng.standard_normal(shape)


def _of_slices(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one number a slice."""
    rank = len(shape)
    reduced = {axis % rank for axis in axes}
    return tuple(1 if axis in reduced else n for axis, n in enumerate(shape))


def _constant(
    rng: np.random.Generator, shape: tuple[int, ...], axes: tuple[int, ...], eps: float
) -> Arrays:
    one = _of_slices(shape, axes)
    size = np.exp(rng.uniform(np.log(1e-3), np.log(6e4), one))
    return np.broadcast_to(size * rng.choice([-1, 1], one), shape).copy()


def _last_bits(
    rng: np.random.Generator, shape: tuple[int, ...], axes: tuple[int, ...], eps: float
) -> Arrays:
    one = _of_slices(shape, axes)
    return rng.uniform(1, 1.9, one) * (1 + eps * rng.integers(0, 4, shape))


def _outlier(
    rng: np.random.Generator, shape: tuple[int, ...], axes: tuple[int, ...], eps: float
) -> Arrays:
    x = rng.standard_normal(shape)
    first: list[Any] = [slice(None)] * len(shape)
    for axis in axes:
        first[axis] = 0
    x[tuple(first)] = 1e3
    return x


HARD_INPUTS = (
    HardInput("mean 0, spread 1", _gaussian(0, 1)),
    HardInput("mean 0, spread 1, epsilon 0", _gaussian(0, 1), epsilon=0.0),
    HardInput("gradient with a mean of 1e3", _gaussian(0, 1), offset=1e3),
    HardInput("mean 100, spread 1", _gaussian(1e2, 1)),
    HardInput("mean 1e7, spread 1", _gaussian(1e7, 1), dtypes=WIDE_RANGE),
    HardInput("spread 1e-14, epsilon 0", _gaussian(0, 1e-14), 0.0, WIDE_RANGE),
    HardInput("spread 1e14", _gaussian(0, 1e14), dtypes=WIDE_RANGE),
    HardInput("equal numbers", _constant),
    HardInput("numbers equal but for the last bits", _last_bits),
    HardInput("one number of 1000", _outlier, dominated=True),
    HardInput(
        "up to the largest float16",
        lambda rng, shape, axes, eps: rng.uniform(-6e4, 6e4, shape),
        dtypes=("float16",),
    ),
)
# For a quick look: the usual, the two that break most formulas, and the one that breaks kernels.
QUICK = ("mean 0, spread 1", "mean 1e7, spread 1", "equal numbers", "one number of 1000")


class Operands(NamedTuple):
    """What a norm and its gradient are called with, on the host."""

    x: Arrays
    dy: Arrays
    scale: Arrays
    bias: Arrays
    epsilon: Arrays


def operands(layer: Layer, hard: HardInput, dtype: str, examples: int, seed: int = 0) -> Operands:
    """The data of one kind for a layer."""
    rng = np.random.default_rng(seed)
    kind, shape = jnp.dtype(dtype), layer.shape(examples)
    eps = float(jnp.finfo(kind).eps)
    x = hard.recipe(rng, layer.view(shape), layer.axes, eps).reshape(shape).astype(kind)
    dy = (hard.offset + rng.standard_normal(shape)).astype(kind)
    # Where the bias cancels the rest the error is that of the rest, so the scale is kept from 0.
    scale = rng.choice([-1, 1], shape[-1:]) * rng.uniform(0.5, 2, shape[-1:])
    bias = 0.25 * rng.standard_normal(shape[-1:])
    scale, bias, epsilon = (np.asarray(array, np.float32) for array in (scale, bias, hard.epsilon))
    return Operands(x, dy, scale, bias, epsilon)


def of_dtype(dtype: str, quick: bool) -> Iterator[HardInput]:
    """The kinds of data that a dtype can hold."""
    for hard in HARD_INPUTS:
        if dtype in hard.dtypes and (not quick or hard.name in QUICK):
            yield hard
