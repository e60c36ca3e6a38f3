"""Every layer once, with the float64 NumPy formula that it must equal.

A case builds a layer and states in NumPy what it computes on the example input. The grids over
transformations and over containers run on this list: a new layer enters all of them by one entry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.nn import (
    AddLayerNorm,
    AddRMSNorm,
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    export_state,
)

CHANNELS = 4
SCALE = np.array([0.5, -1.0, 2.0, 1.5])
BIAS = np.array([1.0, 0.25, -3.0, 0.0])
SHAPE = (3, 5, 2, CHANNELS)
# What layers that add x to a residual add it to: float32 numbers, for formulas in float64.
RESIDUAL = np.random.default_rng(9).standard_normal(SHAPE).astype(np.float32).astype(np.float64)
ADDING = (AddLayerNorm, AddRMSNorm)


def standardize64(x: np.ndarray, axis: int | tuple[int, ...], epsilon: float) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon) over `axis`, in float64, with the biased variance."""
    x = np.asarray(x, np.float64)
    centred = x - x.mean(axis, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis, keepdims=True) + epsilon)


def group64(x: np.ndarray, groups: int, axis: tuple[int, ...], epsilon: float) -> np.ndarray:
    """Each of `groups` slices of the last axis, standardized over `axis` (negative)."""
    parts = np.split(np.asarray(x, np.float64), groups, axis=-1)
    return np.concatenate([standardize64(part, axis, epsilon) for part in parts], axis=-1)


def root_mean_square64(x: np.ndarray, axis: int | tuple[int, ...], epsilon: float) -> np.ndarray:
    """X / sqrt(mean(x²) + epsilon) over `axis`, in float64."""
    x = np.asarray(x, np.float64)
    return x / np.sqrt((x**2).mean(axis, keepdims=True) + epsilon)


@dataclass(frozen=True)
class Case:
    """A layer, the NumPy formula of its training output, and the parameters it was given."""

    name: str
    build: Callable[[], Any]
    expected: Callable[[np.ndarray], np.ndarray]
    parameters: tuple[str, ...] = ()

    def exported(self) -> tuple[Any, dict]:
        """The layer ready to be called, and its state (an empty dict where it has none)."""
        return exported(self.build())


def exported(layer: Any) -> tuple[Any, dict]:
    """A layer and its state: that of one which adds to a residual is the residual."""
    layer, state = export_state(layer)
    if isinstance(layer, ADDING):
        state = {"residual": jnp.asarray(RESIDUAL, jnp.float32)}
    return layer, state


def scale() -> jax.Array:
    return jnp.asarray(SCALE, jnp.float32)


def bias() -> jax.Array:
    return jnp.asarray(BIAS, jnp.float32)


CASES = (
    Case("batch", lambda: BatchNorm(CHANNELS), lambda x: standardize64(x, (0, 1, 2), 1e-5)),
    Case(
        "batch_affine_warmup",
        lambda: BatchNorm(CHANNELS, 1e-2, 0.5, scale=scale(), bias=bias(), warmup=True),
        lambda x: standardize64(x, (0, 1, 2), 1e-2) * SCALE + BIAS,
        ("scale", "bias"),
    ),
    # A sample is a virtual batch, of ten positions.
    Case(
        "batch_virtual",
        lambda: BatchNorm(CHANNELS, virtual_batch=1),
        lambda x: standardize64(x, (1, 2), 1e-5),
    ),
    # Counted from the front: the last one of these.
    Case(
        "batch_channel_axis",
        lambda: BatchNorm(CHANNELS, channel_axis=3, scale=scale(), bias=bias()),
        lambda x: standardize64(x, (0, 1, 2), 1e-5) * SCALE + BIAS,
        ("scale", "bias"),
    ),
    # Its first thousand batches are those of batch norm.
    Case(
        "batch_renorm", lambda: BatchRenorm(CHANNELS), lambda x: standardize64(x, (0, 1, 2), 1e-3)
    ),
    Case("layer", lambda: LayerNorm(), lambda x: standardize64(x, -1, 1e-5)),
    Case(
        "layer_affine_axes",
        lambda: LayerNorm((-1, 1), 1e-3, scale=scale(), bias=bias()),
        lambda x: standardize64(x, (1, 3), 1e-3) * SCALE + BIAS,
        ("scale", "bias"),
    ),
    Case("group", lambda: GroupNorm(2), lambda x: group64(x, 2, (-1,), 1e-5)),
    Case(
        "group_affine_paper",
        lambda: GroupNorm(2, axis=(-3, -2, -1), scale=scale(), bias=bias()),
        lambda x: group64(x, 2, (-3, -2, -1), 1e-5) * SCALE + BIAS,
        ("scale", "bias"),
    ),
    Case(
        "group_root_mean_square",
        lambda: GroupNorm(2, center=False, scale=scale(), bias=bias()),
        lambda x: (
            root_mean_square64(x.reshape(*x.shape[:-1], 2, -1), -1, 1e-5).reshape(x.shape) * SCALE
            + BIAS
        ),
        ("scale", "bias"),
    ),
    Case("root_mean_square", lambda: RMSNorm(), lambda x: root_mean_square64(x, -1, 1e-6)),
    Case(
        "root_mean_square_affine",
        lambda: RMSNorm(scale=scale()),
        lambda x: root_mean_square64(x, -1, 1e-6) * SCALE,
        ("scale",),
    ),
    Case(
        "instance",
        lambda: InstanceNorm(scale=scale(), bias=bias()),
        lambda x: standardize64(x, (-3, -2), 1e-5) * SCALE + BIAS,
        ("scale", "bias"),
    ),
    Case(
        "instance_array_epsilon",
        lambda: InstanceNorm(epsilon=jnp.float32(0.25)),
        lambda x: standardize64(x, (-3, -2), 0.25),
        (),
    ),
    Case(
        "add_layer_affine",
        lambda: AddLayerNorm(scale=scale(), bias=bias()),
        lambda x: standardize64(x + RESIDUAL, -1, 1e-5) * SCALE + BIAS,
        ("scale", "bias"),
    ),
    Case(
        "add_root_mean_square_affine",
        lambda: AddRMSNorm(scale=scale()),
        lambda x: root_mean_square64(x + RESIDUAL, -1, 1e-6) * SCALE,
        ("scale",),
    ),
)

each_layer = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
"""Runs a test that takes `case` on every layer of the list."""


def example(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A float32 input of mean 1 and deviation 2: not standard, so a missing step shows."""
    return (1 + 2 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def call(layer: Any, state: dict, x: Any, **keywords: Any) -> tuple[jax.Array, dict]:
    """Calls a layer in one form, with or without state; a residual is carried like a state."""
    if isinstance(layer, BatchNorm):
        return layer(x, state, **keywords)
    if isinstance(layer, ADDING):
        y, r = layer(x, state["residual"], **keywords)
        return y, {"residual": r}
    return layer(x, **keywords), state


run = jax.jit(call)
"""`call` compiled once for each structure and shape, for all tests."""


def assert_close(found: Any, expected: Any, scale: float = 8.0, floor: float = 1e-30) -> None:
    """Equal within `scale` float32 ulp of the largest number of the array (at least `floor`).

    The layers answer in float32 from float32 statistics, so rounding leaves a handful of ulp;
    a wrong axis, epsilon or variance is off by thousands.
    """
    expected = np.asarray(expected, np.float64)
    found = np.asarray(found)
    assert found.shape == expected.shape
    tolerance = scale * np.finfo(np.float32).eps * max(floor, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=0, atol=tolerance)


def assert_same_bits(found: Any, expected: Any) -> None:
    """Two PyTrees have the same structure and the same bits, the sign of zero and NaN included."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


def numerical_gradient(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """The gradient of a float64 NumPy function by central differences (error near 1e-9 here)."""
    x = np.asarray(x, np.float64)
    gradient = np.zeros_like(x)
    step = 1e-5
    for index in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient


def check_message(error: pytest.ExceptionInfo, *fragments: str) -> None:
    """Every fragment is in the message, which is longer than the fragments alone: it explains."""
    message = str(error.value)
    for fragment in fragments:
        assert fragment in message, f"{fragment!r} is missing from: {message}"
    assert len(message.split()) >= 6, message
