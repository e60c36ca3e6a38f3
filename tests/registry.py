"""The one list of operations of `inox.functional` that feeds every grid of tests.

An operation is told by a line of `OPERATIONS`: how it is called, which arrays it takes, what it
returns, its float64 reference, and the layouts (shape, axes, groups) worth a test. Whatever is
added there is tested for values and gradients, dtypes, masks, sharding and every transformation,
and, where it says what an example is, for the same bits whatever stands beside it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inox import functional
from tests.layouts import BATCHES, CHANNELS, GROUPED, GROUPS, POOLED, ROWS, VECTORS, Layout
from tests.references import (
    Reference,
    batch,
    first_axis,
    fixed,
    groups,
    offset,
    pooled,
    rows,
    sum_of_rows,
    sum_uncentred,
    uncentred,
    uncentred_groups,
    weighted,
    weighted_batch,
)


@dataclass(frozen=True)
class Operation:
    """`call(arrays, where, **static)` names its results; `reference(layout)` is the oracle.

    `examples` are layouts of one example of a batch, without the axis in front that counts them,
    of an operation that normalizes each example by itself.
    """

    name: str
    call: Callable[..., dict[str, jax.Array]]
    arrays: tuple[str, ...]
    results: tuple[str, ...]
    reference: Callable[[Layout], Reference]
    layouts: tuple[Layout, ...]
    examples: tuple[Layout, ...] = ()

    def draw(
        self, layout: Layout, dtype: Any, seed: int = 0, parameter_dtype: Any = None
    ) -> dict[str, np.ndarray]:
        """The arrays: x with mean 1.5 and standard deviation 2, in the given dtypes."""
        generator = np.random.default_rng(seed)
        parameter = layout.shape[-1:] if layout.parameter is None else layout.parameter
        dense = {
            "x": generator.normal(1.5, 2.0, layout.shape),
            "scale": generator.uniform(0.5, 1.5, parameter),
            "bias": generator.normal(0.0, 1.0, parameter),
            "mean": generator.normal(1.5, 0.5, layout.shape[-1:]),
            "var": generator.uniform(2.0, 4.0, layout.shape[-1:]),
            "epsilon": np.asarray(0.125),
            "residual": generator.normal(-0.5, 1.5, layout.shape),
            "gate": generator.uniform(0.5, 1.5, parameter),
            "weights": generator.uniform(0.25, 2.0, (*layout.shape[:-1], 1)),
        }
        dense["weights"][2:3] = 0
        statistics = np.float64 if dtype == np.float64 else np.float32
        dtypes = {
            "x": dtype,
            "residual": dtype,
            "mean": statistics,
            "var": statistics,
            "epsilon": statistics,
        }
        return {
            name: dense[name].astype(dtypes.get(name, parameter_dtype or dtype))
            for name in self.arrays
        }

    def cotangents(self, exact: dict, dtypes: dict, seed: int = 1) -> dict[str, np.ndarray]:
        """A random cotangent for every result, in the given dtypes."""
        generator = np.random.default_rng(seed)
        return {
            name: np.asarray(generator.normal(size=exact[name].shape)).astype(dtypes[name])
            for name in self.results
        }

    def __str__(self) -> str:
        return self.name


def draw_mask(layout: Layout, seed: int = 2) -> np.ndarray:
    """Three positions in four are True; each mask of at least two axes has a whole row of False."""
    where = np.random.default_rng(seed).uniform(size=layout.shape) < 0.75
    if where.ndim > 1 and where.shape[0] > 1:
        where[0] = False
    return where


def spoil(x: np.ndarray, where: np.ndarray) -> np.ndarray:
    """`x` with NaN, inf and -inf in turn at the masked positions."""
    spoiled = x.copy()
    masked = np.flatnonzero(~np.broadcast_to(where, x.shape))
    spoiled.reshape(-1)[masked] = np.resize([np.nan, np.inf, -np.inf], masked.size).astype(x.dtype)
    return spoiled


# The implementations that promise the same bits (docs/batch-invariance.md).
INVARIANT = ("cpu",)


def named(function: Callable[..., Any]) -> Callable[..., dict[str, jax.Array]]:
    """Calls `function(x, scale=..., ...)` and names what it returns."""

    def call(arrays: dict[str, Any], where: Any, **static: Any) -> dict[str, jax.Array]:
        arrays = dict(arrays)
        if "mean" in arrays:
            static["statistics"] = arrays.pop("mean"), arrays.pop("var")
        result = function(arrays.pop("x"), **arrays, where=where, **static)
        if isinstance(result, functional.Moments):
            return result._asdict()
        return (
            {"y": result}
            if isinstance(result, jax.Array)
            else {"y": result[0], **result[1]._asdict()}
        )

    return call


def two(function: Callable[..., Any]) -> Callable[..., dict[str, jax.Array]]:
    """Calls a function that returns a normalized sum and the sum."""

    def call(arrays: dict[str, Any], where: Any, **static: Any) -> dict[str, jax.Array]:
        y, r = function(**arrays, where=where, **static)
        return {"y": y, "r": r}

    return call


def merged(x: Any, *, where: Any) -> functional.Moments:
    """Moments over the first axis, merged from those of the first row, the second, and the rest."""
    where = jnp.broadcast_to(True if where is None else where, x.shape)
    parts = (slice(0, 1), slice(1, 2), slice(2, None))
    return functional.merge_moments(
        *(functional.moments(x[part], 0, where=where[part]) for part in parts)
    )


def rounded(x: Any, **arguments: Any) -> jax.Array:
    """RMS norm, rounded before the scale to the dtype of the statistics: by an ulp of theirs."""
    statistics = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
    return functional.rms_norm(x, normalized_dtype=statistics, **arguments)


AFFINE = ("x", "scale", "bias", "epsilon")
OFFSET = functools.partial(functional.rms_norm, scale_offset=1.0)
GROUP_RMS = functools.partial(functional.group_norm, center=False)
GIVEN = (*AFFINE, "mean", "var")

OPERATIONS = (
    Operation("layer_norm", named(functional.layer_norm), AFFINE, ("y",), rows, ROWS, VECTORS),
    Operation(
        "rms_norm",
        named(functional.rms_norm),
        ("x", "scale", "epsilon"),
        ("y",),
        uncentred,
        ROWS,
        VECTORS[:4],
    ),
    Operation("group_norm", named(functional.group_norm), AFFINE, ("y",), groups, GROUPS, GROUPED),
    Operation(
        "batch_norm", named(functional.batch_norm), AFFINE, ("y", "mean", "var"), batch, BATCHES
    ),
    Operation(
        "batch_norm_given",
        named(functional.batch_norm),
        GIVEN,
        ("y",),
        fixed,
        BATCHES[:3],
        CHANNELS,
    ),
    Operation(
        "standardize",
        named(functional.standardize),
        ("x", "epsilon"),
        ("y",),
        rows,
        ROWS[:4],
        VECTORS[:1],
    ),
    Operation("moments", named(functional.moments), ("x",), ("mean", "var"), pooled, POOLED),
    Operation("merge_moments", named(merged), ("x",), ("mean", "var"), first_axis, BATCHES[:2]),
    Operation(
        "rms_norm_offset",
        named(OFFSET),
        ("x", "scale", "epsilon"),
        ("y",),
        offset,
        ROWS,
        VECTORS[:1],
    ),
    Operation(
        "rms_norm_rounded",
        named(rounded),
        ("x", "scale", "epsilon"),
        ("y",),
        uncentred,
        ROWS,
        VECTORS[:1],
    ),
    Operation(
        "add_layer_norm",
        two(functional.add_layer_norm),
        (*AFFINE, "residual", "gate"),
        ("y", "r"),
        sum_of_rows,
        ROWS[:3],
    ),
    Operation(
        "add_rms_norm",
        two(functional.add_rms_norm),
        ("x", "scale", "epsilon", "residual"),
        ("y", "r"),
        sum_uncentred,
        (*ROWS[:3], ROWS[8]),
        VECTORS[:5],
    ),
    Operation(
        "batch_norm_weighted",
        named(functional.batch_norm),
        (*AFFINE, "weights"),
        ("y", "mean", "var"),
        weighted_batch,
        BATCHES[:3],
    ),
    Operation(
        "moments_weighted",
        named(functional.moments),
        ("x", "weights"),
        ("mean", "var"),
        weighted,
        (Layout((6, 4), {"axis": 0}), POOLED[4]),
    ),
    Operation(
        "group_rms_norm",
        named(GROUP_RMS),
        AFFINE,
        ("y",),
        uncentred_groups,
        GROUPS[:4],
        GROUPED[:2],
    ),
)
