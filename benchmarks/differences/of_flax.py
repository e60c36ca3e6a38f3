"""Differences from Flax NNX and Linen."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from .difference import Difference, Error, attempt, distance, within

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((16, 8, 64)).astype(np.float32)
KEY = jax.random.key(0)
VALID = np.ones((16, 8, 1), bool)
VALID[:, 5:] = False
PADDED = np.where(VALID, X, np.nan).astype(np.float32)


def exact(x: Any, axes: tuple[int, ...]) -> np.ndarray:
    """x normalized in float64."""
    x = np.asarray(x, np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-6)


def linen(name: str, space: Any, x: Any, mask: Any = None, **arguments: Any) -> Any:
    """The output of a fresh layer of Linen."""
    return getattr(space, name)(**arguments).init_with_output(KEY, x, mask=mask)[0]


def layer(name: str, space: Any, x: Any, *, mask: Any = None, **arguments: Any) -> Any:
    """The output of a fresh layer of NNX."""
    return getattr(space, name)(x.shape[-1], **arguments, rngs=nnx.Rngs(0))(x, mask=mask)


def offset_error(apply: Any, space: Any) -> Error:
    """The largest error of y where x has a mean of 3000 spreads."""
    x = (X + 3000).astype(np.float32)
    return distance(apply(space, x), exact(x, (-1,)))


def nan_gradients(apply: Any, space: Any) -> int:
    """How many gradients of x at valid positions are no numbers, where padding holds NaN."""

    def loss(x: Any) -> Any:
        return jnp.sum(jnp.where(VALID, apply(space, x, mask=VALID), 0) ** 3)

    return int(np.isnan(np.asarray(jax.grad(loss)(PADDED))[:, :5]).sum())


def running(space: Any, x: Any, steps: int = 1, **call: Any) -> Any:
    """A batch norm of NNX that has seen x."""
    norm = space.BatchNorm(x.shape[-1], rngs=nnx.Rngs(0))
    for _ in range(steps):
        norm(x, **call)
    return norm


def unequal_mean(space: Any) -> float:
    """The running mean from two devices with 6 and 1 valid elements: 0 and 7 in truth mean 1."""
    values = jnp.stack([jnp.zeros((6, 1)), jnp.full((6, 1), 7.0)])
    valid = jnp.stack([jnp.ones((6, 1), bool), jnp.arange(6)[:, None] < 1])
    layer = space.BatchNorm(use_running_average=False, momentum=0.0, axis_name="devices")
    variables = layer.init(KEY, values[0])

    def step(x: Any, mask: Any) -> Any:
        _, new = layer.apply(variables, x, mask=mask, mutable=["batch_stats"])
        return new["batch_stats"]["mean"]

    return float(jax.vmap(step, axis_name="devices")(values, valid)[0, 0])


def groups_under_vmap(space: Any) -> str:
    """Whether groups of positions of a `vmap` are pooled, or the error."""
    groups = {"axis_name": "i", "axis_index_groups": [[0, 1], [2, 3]]}

    def call() -> str:
        jax.vmap(lambda x: linen("LayerNorm", space, x, **groups), axis_name="i")(X[:4])
        return "pooled"

    return attempt(call)


def half_error(space: Any) -> Error:
    """The largest error of y in bfloat16 where x, in float32, has a mean of 300 spreads."""
    x = (X + 300).astype(np.float32)
    y = layer("LayerNorm", space, x, dtype=jnp.bfloat16)
    return distance(y, exact(x, (-1,)))


def large_variance(space: Any) -> float:
    """The spread of y in evaluation, in float16, where x has a spread of 300: 1 in truth."""
    x = (300 * X).astype(np.float32)
    norm = space.BatchNorm(64, momentum=0.0, dtype=jnp.float16, rngs=nnx.Rngs(0))
    norm(x)
    norm.eval()
    return float(jnp.std(norm(x).astype(jnp.float32)))


def per_position(space: Any) -> Any:
    """The largest error of y of groups at each position, or the error."""

    def call() -> Error:
        y = layer("GroupNorm", space, X, num_groups=4, reduction_axes=(-1,))
        expected = exact(X.reshape(16, 8, 4, 16), (-1,)).reshape(X.shape)
        return distance(y, expected)

    return attempt(call)


def token_mask(space: Any) -> Any:
    """The shape of y under a mask of tokens, or the error."""
    return attempt(lambda: str(linen("GroupNorm", space, X, mask=VALID, num_groups=4).shape))


def complex_mean(space: Any) -> str:
    """The running mean of complex numbers whose mean is 2 + 3j."""
    norm = space.BatchNorm(1, momentum=0.0, rngs=nnx.Rngs(0))
    norm(jnp.array([[1.0 + 2.0j], [3.0 + 4.0j]]))
    mean = complex(norm.mean[0])
    return f"{mean.real:g} + {mean.imag:g}j"


NNX, LINEN = "Flax NNX", "Flax Linen"


DIFFERENCES = [
    Difference(
        NNX,
        "LayerNorm",
        "x with a mean of 3000 spreads: largest error of y",
        partial(offset_error, partial(layer, "LayerNorm")),
        within(1e-5),
    ),
    Difference(
        LINEN,
        "LayerNorm",
        "x with a mean of 3000 spreads: largest error of y",
        partial(offset_error, partial(linen, "LayerNorm")),
        within(1e-5),
    ),
    Difference(
        NNX,
        "BatchNorm",
        "NaN in padding: how many of the 5120 gradients elsewhere are NaN",
        partial(nan_gradients, partial(layer, "BatchNorm")),
        lambda value: value == 0,
    ),
    Difference(
        LINEN,
        "BatchNorm",
        "NaN in padding: how many of the 5120 gradients elsewhere are NaN",
        partial(nan_gradients, partial(linen, "BatchNorm", use_running_average=False)),
        lambda value: value == 0,
    ),
    Difference(
        NNX,
        "BatchNorm",
        "a mask that holds nothing: running mean, from 0",
        lambda space: float(running(space, X, mask=np.zeros((16, 8, 1), bool)).mean[0]),
        lambda value: value == 0,
    ),
    Difference(
        NNX,
        "BatchNorm",
        "100 batches of one element a channel: running variance, from 1",
        lambda space: float(running(space, X[:1, 0], 100).var[0]),
        lambda value: value == 1,
    ),
    Difference(
        LINEN,
        "BatchNorm",
        "a mask leaves six 0 on one device, one 7 on another: mean, 1 in truth",
        unequal_mean,
        within(1e-6, of=1.0),
    ),
    Difference(
        LINEN,
        "LayerNorm",
        "`axis_index_groups` under `vmap`: statistics",
        groups_under_vmap,
        "pooled".__eq__,
    ),
    Difference(
        NNX,
        "all",
        "bfloat16 x, float32 parameters, `dtype=None`: dtype of y",
        lambda space: str(layer("LayerNorm", space, jnp.asarray(X, jnp.bfloat16)).dtype),
        "bfloat16".__eq__,
    ),
    Difference(
        NNX,
        "all",
        "`dtype=bfloat16`, float32 x with a mean of 300 spreads: largest error of y",
        half_error,
        within(2**-7),
    ),
    Difference(
        NNX,
        "BatchNorm",
        "`dtype=float16`, x with a spread of 300, evaluation: spread of y, 1 in truth",
        large_variance,
        within(1e-2, of=1.0),
    ),
    Difference(
        NNX,
        "GroupNorm",
        "each position alone, `reduction_axes=(-1,)`: largest error of y",
        per_position,
        within(1e-5),
    ),
    Difference(
        LINEN,
        "GroupNorm",
        "x of shape (16, 8, 64), a mask (16, 8, 1) of tokens: shape of y",
        token_mask,
        "(16, 8, 64)".__eq__,
    ),
    Difference(
        NNX,
        "BatchNorm",
        "complex x with a mean of 2 + 3j: running mean",
        complex_mean,
        "2 + 3j".__eq__,
    ),
]
