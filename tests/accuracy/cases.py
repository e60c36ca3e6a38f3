"""Kinds of data that are hard on a normalization, each a recipe for slices of any length."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from tests.accuracy.layouts import Layout

DTYPES = ("float32", "bfloat16", "float16", "float64")
WIDE_RANGE = ("float32", "bfloat16", "float64")
SINGLE_AND_DOUBLE = ("float32", "float64")

# (generator, number of slices, their length, distance from 1 to the next number) -> a slice a row
Recipe = Callable[[np.random.Generator, int, int, float], np.ndarray]


@dataclass(frozen=True)
class Case:
    """Data for x, the epsilon and the kind of dy, and the dtypes that the data fit in.

    `dominated` says that one element makes up most of the variance of a slice.
    """

    name: str
    recipe: Recipe
    epsilon: float = 1e-5
    gradient: str = "normal"
    dtypes: tuple[str, ...] = DTYPES
    dominated: bool = False


def gaussian(mean: float = 0.0, std: float = 1.0) -> Recipe:
    return lambda rng, m, n, eps: mean + std * rng.standard_normal((m, n))


def never_constant(mean: float) -> Recipe:
    """Noise and a step of 2 up and down, so that short slices of integers have a variance."""
    return lambda rng, m, n, eps: mean + rng.standard_normal((m, n)) + np.resize([1, -1], n)


def with_outlier(position: int, size: float) -> Recipe:
    def recipe(rng: np.random.Generator, m: int, n: int, eps: float) -> np.ndarray:
        x = rng.standard_normal((m, n))
        x[:, position] = size
        return x

    return recipe


def constant(low: float, high: float) -> Recipe:
    """Each slice holds one number, from a range of magnitudes."""

    def recipe(rng: np.random.Generator, m: int, n: int, eps: float) -> np.ndarray:
        size = np.exp(rng.uniform(np.log(low), np.log(high), (m, 1)))
        return np.broadcast_to(size * rng.choice([-1, 1], (m, 1)), (m, n)).copy()

    return recipe


def nearly_constant(rng: np.random.Generator, m: int, n: int, eps: float) -> np.ndarray:
    """Numbers that differ in their last two bits."""
    return rng.uniform(1, 1.9, (m, 1)) * (1 + eps * rng.integers(0, 4, (m, n)))


def one_differs(rng: np.random.Generator, m: int, n: int, eps: float) -> np.ndarray:
    """A constant slice but for one number, which differs in its last bit."""
    x = np.ones((m, n))
    x[np.arange(m), rng.integers(0, n, m)] += eps
    return x


def alternating(rng: np.random.Generator, m: int, n: int, eps: float) -> np.ndarray:
    """Large numbers of alternating sign: the sum cancels, the sum of squares does not."""
    signs = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    return signs * (1e3 + rng.standard_normal((m, n)))


def step(rng: np.random.Generator, m: int, n: int, eps: float) -> np.ndarray:
    """The second half of a slice is elsewhere."""
    return rng.standard_normal((m, n)) + np.where(np.arange(n) < n // 2, 0.0, 1e3)


def many_scales(rng: np.random.Generator, m: int, n: int, eps: float) -> np.ndarray:
    """Magnitudes over several decades in one slice."""
    return rng.choice([-1, 1], (m, n)) * np.exp(2 * rng.standard_normal((m, n)))


def uniform(limit: float) -> Recipe:
    return lambda rng, m, n, eps: rng.uniform(-limit, limit, (m, n))


CASES = (
    Case("mean/std 0", gaussian()),
    Case("mean/std 0, epsilon 0", gaussian(), epsilon=0.0),
    Case("mean/std 1e2", gaussian(1e2)),
    Case("mean/std -1e4", gaussian(-1e4), dtypes=WIDE_RANGE),
    Case("mean/std 1e7", gaussian(1e7), dtypes=WIDE_RANGE),
    Case("mean/std 1e7, epsilon 0", never_constant(1e7), 0.0, dtypes=SINGLE_AND_DOUBLE),
    Case("std 1e-14, epsilon 0", gaussian(0, 1e-14), 0.0, dtypes=WIDE_RANGE),
    Case("std 1e-14", gaussian(0, 1e-14), dtypes=WIDE_RANGE),
    Case("mean 1e-7, std 1e-14", gaussian(1e-7, 1e-14), 0.0, dtypes=("float64",)),
    Case("std 1e14", gaussian(0, 1e14), dtypes=WIDE_RANGE),
    Case("up to 1e18", uniform(1e18), dtypes=WIDE_RANGE),
    Case("mean 1e18, std 1e12", gaussian(1e18, 1e12), dtypes=SINGLE_AND_DOUBLE),
    Case("constant", constant(1e-3, 6e4)),
    Case("constant, any magnitude", constant(1e-18, 1e18), dtypes=WIDE_RANGE),
    Case("nearly constant", nearly_constant),
    Case("nearly constant, epsilon 0", nearly_constant, 0.0),
    Case("one differs, epsilon 0", one_differs, 0.0, dominated=True),
    Case("outlier first", with_outlier(0, 1e3), dominated=True),
    Case("outlier last", with_outlier(-1, -1e3), dominated=True),
    Case("outlier first, 1e6", with_outlier(0, 1e6), dtypes=WIDE_RANGE, dominated=True),
    Case("alternating", alternating),
    Case("step", step),
    Case("many scales", many_scales, dominated=True),
    Case("up to 6e4", uniform(6e4)),
    Case("below the least normal float16", uniform(5e-5)),
    Case("gradient of ones", gaussian(), gradient="ones"),
    Case("gradient along x", gaussian(3.0), gradient="along x"),
    Case("gradient with a mean of 1e3", gaussian(), gradient="offset"),
)


@dataclass(frozen=True)
class Operands:
    """What a layout's program is called with; epsilon is an array of the statistics' dtype."""

    x: np.ndarray
    dy: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    epsilon: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.x, self.dy, self.scale, self.bias, self.epsilon))


def operands(case: Case, layout: Layout, dtype: str, rng: np.random.Generator) -> Operands:
    """The data of a case in the shape of a layout."""
    slices, kind = layout.slices, jnp.dtype(dtype)
    shape = slices.rows(np.zeros(slices.shape)).shape
    rows = case.recipe(rng, *shape, float(jnp.finfo(kind).eps))
    x = slices.unrows(rows).astype(kind)
    noise = rng.standard_normal(slices.shape)
    dy: Any = {
        "normal": lambda: noise,
        "ones": lambda: np.ones(slices.shape),
        "along x": lambda: x.astype(np.float64) + 1e-3 * noise,
        "offset": lambda: 1e3 + noise,
    }[case.gradient]()
    parameter = np.float64 if dtype == "float64" else np.float32
    # Where the bias cancels the rest the error is that of the rest, so the scale is kept from 0.
    scale = rng.choice([-1, 1], layout.parameter_shape) * rng.uniform(
        0.5, 2, layout.parameter_shape
    )
    scale = scale.astype(parameter)
    bias = (0.25 * rng.standard_normal(layout.parameter_shape)).astype(parameter)
    return Operands(x, dy.astype(kind), scale, bias, np.asarray(case.epsilon, parameter))
