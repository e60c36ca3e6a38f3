"""Differences from Haiku."""

from collections.abc import Callable
from functools import partial
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from .difference import Difference, Error, attempt, distance, within

RANDOM = np.random.default_rng(0)
BELL = RANDOM.standard_normal((64, 8))
WIDE = np.random.default_rng(1).standard_normal((64, 64))
IMAGES = RANDOM.standard_normal((3, 4, 4, 6)).astype(np.float32)
COMPLEX = BELL[:32] + 1j * BELL[32:]
NONE = {"create_scale": False, "create_offset": False}
AVERAGE = "batch_norm/~/{}_ema"

Call = Callable[[Any], Callable[[Any], Any]]
"""From the namespace of the layers to a function that builds one and applies it."""


def batch(space: Any) -> Callable[[Any], Any]:
    """Batch norm in training."""
    return lambda x: space.BatchNorm(**NONE, decay_rate=0.9)(x, True)


def layer(space: Any, **settings: Any) -> Callable[[Any], Any]:
    """Layer norm over the first axis."""
    return lambda x: space.LayerNorm(0, **NONE, param_axis=-1, **settings)(x)


def rms(space: Any) -> Callable[[Any], Any]:
    """RMS norm over the first axis."""
    return lambda x: space.RMSNorm(0, create_scale=False)(x)


def group(space: Any, **settings: Any) -> Callable[[Any], Any]:
    """Group norm of two groups, its axes counted from the end."""
    return lambda x: space.GroupNorm(2, (-3, -2, -1), **NONE, **settings)(x)


def output(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """The output of a first training step, and the state after it."""
    network = hk.transform_with_state(function)
    return network.apply(*network.init(jax.random.key(0), x), None, x)


def over_first(x: Any, centred: bool = True) -> np.ndarray:
    """x normalized over its first axis, in float64."""
    deviation = x - x.mean(0) if centred else x
    return deviation / np.sqrt((np.abs(deviation) ** 2).mean(0) + 1e-5)


def grouped(x: Any) -> np.ndarray:
    """Two groups of channels, which are last, over all axes but the first, in float64."""
    parts = x.reshape(3, -1, 2, 3)
    deviation = parts - parts.mean((1, 3), keepdims=True)
    y = deviation / np.sqrt((deviation**2).mean((1, 3), keepdims=True) + 1e-5)
    return y.reshape(x.shape)


def error(build: Call, numbers: Any, dtype: str, formula: Any, space: Any) -> Error:
    """The largest error of y."""
    x = jnp.asarray(numbers, dtype)
    wide = np.asarray(x).astype(np.complex128 if np.iscomplexobj(numbers) else np.float64)
    return distance(output(build(space), x)[0], formula(wide))


def batch_norm(space: Any) -> Any:
    """Batch norm of which the call says whether it trains."""
    return hk.transform_with_state(
        lambda x, training: space.BatchNorm(**NONE, decay_rate=0.1)(x, training)
    )


def integers(space: Any) -> Any:
    """The largest error of y of integers in evaluation, or the error's name."""
    x, network = np.arange(8, dtype=np.int32).reshape(4, 2), batch_norm(space)
    expected = over_first(x.astype(np.float64))

    def call() -> Error:
        _, state = network.init(None, x, True)
        return distance(network.apply({}, state, None, x, False)[0], expected)

    return attempt(call)


def single_element(space: Any) -> float:
    """What x + 1 is evaluated to once `init` and a training step have seen x alone."""
    x, network = np.array([[5.0]], np.float32), batch_norm(space)
    _, state = network.init(None, x, True)
    _, state = network.apply({}, state, None, x, True)
    return float(network.apply({}, state, None, x + 1, False)[0][0, 0])


def overflowed(space: Any) -> float:
    """The running variance after a batch with a spread of 1e20 and 50 with a spread of 1."""
    network = batch_norm(space)
    x = np.array([[-1.0], [1.0]], np.float32)
    _, state = network.init(None, x, True)
    step = jax.jit(lambda state, x: network.apply({}, state, None, x, True)[1])
    state = step(state, np.float32(1e20) * x)
    for _ in range(50):
        state = step(state, x)
    return float(state[AVERAGE.format("var")]["average"][0, 0])


def negative_variance(space: Any) -> float:
    """What 1 is evaluated to by mean 0 and a running variance of -1."""
    network = batch_norm(space)
    _, state = network.init(None, np.zeros((2, 1), np.float32), True)
    state = {name: dict(entries) for name, entries in state.items()}
    state[AVERAGE.format("var")]["average"] = jnp.full((1, 1), -1.0)
    y, _ = network.apply({}, state, None, np.ones((1, 1), np.float32), False)
    return float(y[0, 0])


def half_variance(space: Any) -> float:
    """The running variance in float16 of numbers with a spread of 300, relative to the true one."""
    x = jnp.asarray(300 * BELL, jnp.float16)
    average = output(batch(space), x)[1][AVERAGE.format("var")]["average"]
    return float(average[0, 0]) / float(np.asarray(x, np.float64).var(0)[0])


def half_statistics(space: Any) -> str:
    """The dtype of the running statistics of a network that is made with bfloat16."""
    _, state = output(batch(space), jnp.asarray(BELL, jnp.bfloat16))
    (kind,) = {state[AVERAGE.format(name)]["average"].dtype.name for name in ("mean", "var")}
    return kind


def half_output(space: Any) -> str:
    """The dtypes of y of bfloat16 where the parameters are float32."""

    def function(x: Any) -> Any:
        batch, layer = space.BatchNorm(True, True, 0.9), space.LayerNorm(-1, True, True)
        return batch(x, True), layer(x)

    network = hk.transform_with_state(function)
    made = network.init(None, BELL.astype(np.float32))
    y, _ = network.apply(*made, None, jnp.asarray(BELL, jnp.bfloat16))
    return ", ".join(sorted({part.dtype.name for part in y}))


def sizes(space: Any) -> str:
    """The shape of y of a group norm that has seen images of another size before."""

    def function(one: Any, two: Any) -> Any:
        norm = space.GroupNorm(2)
        norm(one)
        return norm(two)

    arrays = jnp.ones((2, 4, 4, 6)), jnp.ones((2, 8, 8, 6))
    network = hk.transform(function)
    return str(network.apply(network.init(None, *arrays), None, *arrays).shape)


def shape_of(build: Call, x: Any, space: Any) -> str:
    """The shape of y, or the error."""
    return attempt(lambda: str(output(build(space), x)[0].shape))


def row(name: str, situation: str, measure: Any, right: Any) -> Difference:
    """A difference from Haiku."""
    return Difference("Haiku", name, situation, measure, right)


def error_row(
    name: str, situation: str, build: Call, numbers: Any, dtype: str, formula: Any, bound: float
) -> Difference:
    """A row of the largest error of y."""
    measure = partial(error, build, numbers, dtype, formula)
    return row(name, f"{situation}: largest error of y", measure, within(bound))


FLOAT, HALF, COMPLEX64 = "float32", "bfloat16", "complex64"
FIRST = np.moveaxis(IMAGES, -1, 1)
MEAN, LARGE = "x with a mean of {} spreads", "float16 x with a spread of 300"
uncentred = partial(over_first, centred=False)
ONE = within(0.006, of=1.0)
DIFFERENCES = [
    error_row("BatchNorm", MEAN.format(100), batch, BELL + 100, FLOAT, over_first, 1e-6),
    error_row("BatchNorm", MEAN.format(3000), batch, WIDE + 3000, FLOAT, over_first, 1e-6),
    error_row("LayerNorm", MEAN.format(3000), layer, WIDE + 3000, FLOAT, over_first, 1e-6),
    error_row(
        "LayerNorm",
        f"{MEAN.format(3000)}, `use_fast_variance=True`",
        partial(layer, use_fast_variance=True),
        WIDE + 3000,
        FLOAT,
        over_first,
        1e-6,
    ),
    error_row("BatchNorm", f"bfloat16 {MEAN.format(4)}", batch, BELL + 4, HALF, over_first, 2**-7),
    error_row(
        "LayerNorm", f"bfloat16 {MEAN.format(10)}", layer, BELL + 10, HALF, over_first, 2**-7
    ),
    *(
        error_row(name, LARGE, build, 300 * BELL, "float16", formula, 2**-9)
        for name, build, formula in (
            ("BatchNorm", batch, over_first),
            ("LayerNorm", layer, over_first),
            ("RMSNorm", rms, uncentred),
        )
    ),
    row("BatchNorm", f"{LARGE}: running variance over the true one", half_variance, ONE),
    row("BatchNorm", "bfloat16 x: dtype of the running statistics", half_statistics, FLOAT.__eq__),
    row(
        "BatchNorm, LayerNorm",
        "bfloat16 x, float32 parameters: dtype of y",
        half_output,
        HALF.__eq__,
    ),
    row(
        "BatchNorm",
        "trained on a batch of the one number 5: y of 6 in evaluation",
        single_element,
        ONE,
    ),
    row(
        "BatchNorm",
        "a batch with a spread of 1e20, then 50 of spread 1: running variance",
        overflowed,
        ONE,
    ),
    row(
        "BatchNorm",
        "a running variance of -1, as its one pass may leave: y of 1 in evaluation",
        negative_variance,
        within(1, of=316.2),
    ),
    error_row(
        "GroupNorm", "`axis=(-3, -2, -1)`, channels last", group, IMAGES, FLOAT, grouped, 1e-6
    ),
    error_row(
        "GroupNorm",
        "`axis=(-3, -2, -1)`, channels first",
        partial(group, data_format="NCHW"),
        FIRST,
        FLOAT,
        lambda x: np.moveaxis(grouped(np.moveaxis(x, 1, -1)), -1, 1),
        1e-6,
    ),
    row(
        "GroupNorm",
        "called with x of shape (2, 4, 4, 6), then (2, 8, 8, 6): shape of y",
        sizes,
        "(2, 8, 8, 6)".__eq__,
    ),
    error_row("BatchNorm", "complex x", batch, COMPLEX, COMPLEX64, over_first, 1e-6),
    error_row("RMSNorm", "complex x", rms, COMPLEX, COMPLEX64, uncentred, 1e-6),
    row("BatchNorm", "integers, in evaluation: largest error of y", integers, within(1e-6)),
    row(
        "LayerNorm",
        "x of shape (2, 3, 4), `axis=5`: shape of y",
        partial(
            shape_of,
            lambda space: lambda x: space.LayerNorm(5, **NONE, param_axis=-1)(x),
            np.ones((2, 3, 4), np.float32),
        ),
        "ValueError".__eq__,
    ),
    row(
        "LayerNorm",
        "x of shape (3, 4), `scale` of shape (2, 1, 1): shape of y",
        partial(
            shape_of,
            lambda space: lambda x: space.LayerNorm(-1, **NONE)(x, np.ones((2, 1, 1), np.float32)),
            np.ones((3, 4), np.float32),
        ),
        "ValueError".__eq__,
    ),
]
