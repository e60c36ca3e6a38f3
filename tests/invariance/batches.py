"""Batches whose examples are of every kind, and the same examples in every company.

What is compared is an example's y and dx: by itself, at any place of any batch, beside NaN, under
`vmap`, and between other operations of a program.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.layouts import Layout
from tests.registry import Operation

# No block of rows divides it; eight and more large images are shared out among threads as wholes.
EXAMPLES = 21
# Examples alone and in batches, from here to there.
PARTS = ((0, 1), (10, 11), (20, 21), (0, 8), (13, 21))
# About how many elements a batch has that is large: enough for another way of adding them up.
LARGE = 2**17
# Those that are replaced by NaN, or by zeros, as padding is.
PADDED = (0, 3, 10, 11, 19)

Program = Callable[..., dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Batch:
    """The arrays of a batch: `x` and `dy` by example, and what all examples share."""

    x: np.ndarray
    dy: np.ndarray
    shared: dict[str, np.ndarray]


def in_batch(example: Layout, examples: int = EXAMPLES) -> Layout:
    """The layout of a batch; its parameters are those of an example."""
    parameter = example.shape[-1:] if example.parameter is None else example.parameter
    return Layout((examples, *example.shape), example.static, parameter)


def kinds(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Iterator[np.ndarray]:
    """Examples in turn: usual, far from 0, constant, led by an outlier, too large for float32."""
    large = {"float16": 3e4, "bfloat16": 1e30, "float32": 1e15, "float64": 1e100}[dtype.name]
    while True:
        yield rng.standard_normal(shape)
        yield 300 + rng.standard_normal(shape)
        yield np.full(shape, rng.uniform(-5, 5))
        outlier = rng.standard_normal(shape)
        outlier[(0,) * len(shape)] = 1000
        yield outlier
        yield large * rng.uniform(-1, 1, shape)


def draw(operation: Operation, example: Layout, dtype: Any, seed: int = 0) -> Batch:
    """Data of one dtype, statistics and epsilon in that of statistics."""
    rng = np.random.default_rng(seed)
    layout = in_batch(example)
    shared = operation.draw(layout, dtype, seed, np.float64 if dtype == np.float64 else np.float32)
    del shared["x"]
    if "residual" in shared:  # each example's sum is with the same one, as with a constant
        shared["residual"] = shared["residual"][0]
    each = kinds(rng, example.shape, dtype)
    x = np.stack([next(each) for _ in range(EXAMPLES)]).astype(dtype)
    dy = rng.standard_normal(x.shape)
    dy[5] = 0  # a gradient that nothing flows back to
    return Batch(x, dy.astype(dtype), shared)


def run(operation: Operation, example: Layout, implementation: str | None) -> Program:
    """`(x, dy, shared) -> y, dx` and the gradients of scale and bias, for a batch of any size."""

    def call(x: Any, dy: Any, shared: dict[str, Any]) -> dict[str, Any]:
        trained = {name: shared[name] for name in ("scale", "bias") if name in shared}
        fixed = {name: shared[name] for name in shared if name not in trained}

        def y(x: Any, trained: dict[str, Any]) -> Any:
            arrays = {"x": x, **trained, **fixed}
            if "residual" in arrays:
                arrays["residual"] = jnp.broadcast_to(arrays["residual"], x.shape)
            settings = {**example.static, "implementation": implementation}
            return operation.call(arrays, None, **settings)["y"]

        value, pull = jax.vjp(y, x, trained)
        dx, gradients = pull(dy)
        return {"y": value, "dx": dx, **{f"d{name}": g for name, g in gradients.items()}}

    return call


def of_examples(call: Program) -> Callable[..., tuple[Any, Any]]:
    """y and dx alone, of each example."""

    def both(x: Any, dy: Any, shared: dict[str, Any]) -> tuple[Any, Any]:
        results = call(x, dy, shared)
        return results["y"], results["dx"]

    return both


def mapped(both: Callable[..., Any]) -> Callable[..., Any]:
    """The same under `vmap`, over batches of three."""

    def run(x: Any, dy: Any, shared: dict[str, Any]) -> tuple[Any, Any]:
        parts = (array.reshape(7, 3, *array.shape[1:]) for array in (x, dy))
        y, dx = jax.vmap(both, (0, 0, None))(*parts, shared)
        return y.reshape(x.shape), dx.reshape(dy.shape)

    return run


def between_operations(both: Callable[..., Any]) -> Callable[..., Any]:
    """Examples 4 to 12 inside of a program that makes x and dy, and uses y and dx further."""

    def run(x: Any, dy: Any, shared: dict[str, Any]) -> tuple[Any, Any, Any]:
        two, half = jnp.asarray(2, x.dtype), jnp.asarray(0.5, x.dtype)
        x, dy = ((two * (half * array))[4:12] for array in (x, dy))
        y, dx = both(x, dy, shared)
        return y, dx, jnp.tanh(y) * x + jnp.tanh(dx) * dy

    return run


# (name of the company, places of its examples in the batch, their y and dx)
Company = tuple[str, np.ndarray, tuple[Any, Any]]


def companies(call: Program, batch: Batch, jit: Callable[..., Any] = jax.jit) -> Iterator[Company]:
    """The examples of a batch in every company, the whole batch first.

    Few programs, each compiled once: what differs is the data.
    """
    both = of_examples(call)
    compiled = jit(both)
    x, dy, shared = batch.x, batch.dy, batch.shared
    places = np.arange(len(x))
    yield "the whole batch", places, compiled(x, dy, shared)
    for name, order in (("reversed", places[::-1]), ("moved on by 2", np.roll(places, 2))):
        yield name, order, compiled(x[order], dy[order], shared)
    others = np.setdiff1d(places, PADDED)
    for name, value in (("beside NaN", np.nan), ("beside zeros", 0)):
        padded, padded_dy = x.copy(), dy.copy()
        padded[list(PADDED)] = padded_dy[list(PADDED)] = value
        y, dx = compiled(padded, padded_dy, shared)
        yield name, others, (np.asarray(y)[others], np.asarray(dx)[others])
    for begin, end in PARTS:
        part = compiled(x[begin:end], dy[begin:end], shared)
        yield f"examples {begin} to {end}", places[begin:end], part
    many = min(40, LARGE // x.size)
    if many > 1:
        together = compiled(*(np.concatenate([array] * many) for array in (x, dy)), shared)
        yield f"among {many * len(x)}", places, tuple(array[-len(x) :] for array in together)
    yield "vmap", places, jit(mapped(both))(x, dy, shared)
    *inside, _ = jit(between_operations(both))(x, dy, shared)
    yield "between operations", places[4:12], tuple(inside)


def bits(array: Any) -> np.ndarray:
    """An array as unsigned integers: zeros of either sign differ, NaN equals itself."""
    array = np.ascontiguousarray(array)
    return array.view(f"u{array.dtype.itemsize}")


def differing(one: Any, other: Any) -> int:
    """In how many elements two arrays differ in a bit."""
    return int((bits(one) != bits(other)).sum())


def violations(found: Iterator[Company]) -> list[str]:
    """Where y or dx of an example isn't that of the whole batch, to the bit."""
    _, _, whole = next(found)
    wrong = []
    for company, places, results in found:
        for name, alone, of_whole in zip(("y", "dx"), results, whole, strict=True):
            if count := differing(alone, np.asarray(of_whole)[places]):
                wrong.append(f"{name}, {company}: {count} elements")
    return wrong
