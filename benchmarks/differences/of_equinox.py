"""Differences from Equinox."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .difference import Difference, Error, attempt, distance, within

AXES: dict[str, Any] = {"axis_name": "batch", "in_axes": (0, None), "out_axes": (0, None)}


def standard_normal(*shape: int) -> np.ndarray:
    """Numbers whose mean is 0 and variance 1 over the first axis."""
    z = np.random.default_rng(0).standard_normal(shape)
    return (z - z.mean(0)) / z.std(0)


def batch_norm(space: Any, x: Any, steps: int = 1, **settings: Any) -> tuple[Any, ...]:
    """Outputs in training and evaluation after some steps on one batch, the layer and its state."""
    layer, state = eqx.nn.make_with_state(space.BatchNorm)(x.shape[1], "batch", **settings)
    y = None
    for _ in range(steps):
        y, state = jax.vmap(layer, **AXES)(x, state)
    copy = jax.tree.map(lambda leaf: leaf, state)
    evaluated, _ = jax.vmap(eqx.nn.inference_mode(layer), **AXES)(x, copy)
    return y, evaluated, layer, state


def variance_of_evaluation(steps: int, space: Any) -> float:
    """By which variance a batch of variance 1 is evaluated after some steps of mode "batch"."""
    x = jnp.asarray(standard_normal(512, 1), jnp.float32)
    _, evaluated, *_ = batch_norm(space, x, steps, mode="batch")
    return float(1 / np.var(np.asarray(evaluated, np.float64)))


def factor_before_training(space: Any) -> float:
    """What mode "ema" multiplies by before the first batch."""
    return float(batch_norm(space, jnp.ones((2, 1)), 0, mode="ema")[1][0, 0])


def offset_error(name: str, space: Any) -> Error:
    """The largest error of y where x has a mean of 3000 spreads."""
    x = np.asarray(3000.1 + standard_normal(4096, 4), np.float32).T.copy()
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    if name == "LayerNorm":
        y = jax.jit(jax.vmap(space.LayerNorm(4096)))(x)
    elif name == "GroupNorm":
        y = eqx.filter_jit(space.GroupNorm(4, 4))(x)
    else:
        y = batch_norm(space, x.T, mode="batch")[0].T
    return distance(y, expected)


def half(space: Any) -> tuple[Any, Error]:
    """y of bfloat16 in mode "batch", and how far the variance stored is off, relatively."""
    x = jnp.asarray(5 + standard_normal(512, 1), jnp.bfloat16)
    y, _, layer, state = batch_norm(space, x, mode="batch", momentum=0.0)
    var = float(state.get(layer.batch_state_index)[1][0])
    return y, Error(abs(var / float(np.asarray(x, np.float64).var()) - 1))


def dtype_of(x_dtype: Any, space: Any, **settings: Any) -> str:
    """The dtype of what batch norm makes of a dtype, or the error."""
    x = jnp.ones((2, 1), x_dtype)
    return attempt(lambda: batch_norm(space, x, **settings)[0].dtype.name)


def square_of_complex(space: Any) -> float:
    """The mean absolute square of what RMS norm makes of complex numbers."""
    z = standard_normal(256, 2)
    x = jnp.asarray(z[:, 0] + 1j * z[:, 1], jnp.complex64)
    return float(np.mean(np.abs(np.asarray(space.RMSNorm(256, use_bias=False)(x))) ** 2))


def after_single_samples(space: Any) -> float:
    """The running variance after a batch of 64 and then 100 batches of one sample."""
    x = jnp.asarray(standard_normal(64, 1), jnp.float32)
    _, _, layer, state = batch_norm(space, x, mode="ema")
    for _ in range(100):
        _, state = jax.vmap(layer, **AXES)(x[:1], state)
    return float(state.get(layer.ema_state_index)[1][0])


def spread_of_large_numbers(space: Any) -> float:
    """The spread of what layer norm makes of many numbers with a spread of 2e17."""
    y = space.LayerNorm(65536)(jnp.asarray(2e17 * standard_normal(65536), jnp.float32))
    return float(np.std(np.asarray(y, np.float64)))


def of_integers(space: Any) -> tuple[float, ...]:
    """What layer norm makes of 1, 2, 3, 6."""
    return tuple(map(float, space.LayerNorm(4)(jnp.array([1, 2, 3, 6]))))


ONE = within(0.006, of=1.0)
INTEGERS = np.array([-2.0, -1.0, 0.0, 3.0]) / np.sqrt(3.5 + 1e-5)


def row(layer: str, situation: str, measure: Any, right: Any) -> Difference:
    """A difference from Equinox."""
    return Difference("Equinox", layer, situation, measure, right)


LARGE_MEAN = "x with a mean of 3000 spreads: largest error of y"
DIFFERENCES = [
    *(
        row(name, LARGE_MEAN, partial(offset_error, name), within(1e-6))
        for name in ("LayerNorm", "GroupNorm", "BatchNorm")
    ),
    row(
        "LayerNorm",
        "65536 numbers with a spread of 2e17: spread of y, 1 in truth",
        spread_of_large_numbers,
        ONE,
    ),
    row(
        "LayerNorm",
        "y of the integers 1, 2, 3, 6",
        of_integers,
        lambda y: bool(np.allclose(y, INTEGERS, atol=1e-6)),
    ),
    row(
        "RMSNorm",
        "complex x: mean absolute square of y, 1 in truth",
        square_of_complex,
        ONE,
    ),
    *(
        row(
            "BatchNorm",
            f'mode "batch", variance 1: the variance of evaluation after {steps}',
            partial(variance_of_evaluation, number),
            ONE,
        )
        for number, steps in ((1, "1 step"), (100, "100 steps"))
    ),
    row(
        "BatchNorm",
        'mode "ema", before training: what evaluation multiplies x by, 1 in truth',
        factor_before_training,
        ONE,
    ),
    row(
        "BatchNorm",
        'mode "ema", 100 batches of one element a channel: running variance, from 1',
        after_single_samples,
        ONE,
    ),
    row(
        "BatchNorm",
        'bfloat16 x, mode "batch": dtype of y',
        lambda space: half(space)[0].dtype.name,
        "bfloat16".__eq__,
    ),
    row(
        "BatchNorm",
        'bfloat16 x, mode "batch": relative error of running variance',
        lambda space: half(space)[1],
        within(1e-6),
    ),
    row(
        "BatchNorm",
        'bfloat16 x, mode "ema": dtype of y',
        partial(dtype_of, jnp.bfloat16, mode="ema"),
        "bfloat16".__eq__,
    ),
    row(
        "BatchNorm",
        '`dtype=bfloat16`, float32 x, mode "batch": dtype of y',
        partial(dtype_of, jnp.float32, mode="batch", dtype=jnp.bfloat16),
        "float32".__eq__,
    ),
]
