"""The kernel of `normalize`: x is read once and y written once."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..jax_internals import pallas, shape_like
from .block_sizes import Blocks
from .group_lanes import GroupLanes, each_slice
from .lanes import LANES, Lanes
from .launching import launch
from .row_statistics import row_statistics
from .strips import each_strip, epsilon_block, grid, parameter_block, row_block

Array = jax.Array


def normalize_rows(
    x: Array,
    epsilon: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    blocks: Blocks,
    centred: bool,
    group: int = 0,
) -> Array:
    """Standardizes rows, or groups of their channels, scales and shifts.

    Args:
        x: An array of (sheets, rows, channels).
        epsilon: A float32 of (1, 1).
        scale: A float32 of (1, channels), or None.
        bias: A float32 of (1, channels), or None.
        blocks: How many rows at a time.
        centred: Whether the mean is subtracted.
        group: How many channels a group has; 0 where a row is a slice.
    """
    pl, pltpu = pallas()
    lanes = Lanes(x.shape[-1])
    parameters = [p for p in (scale, bias) if p is not None]

    def kernel(epsilon_ref: Any, x_ref: Any, *refs: Any) -> None:
        *parameter_refs, y_ref = refs
        scale_ref = parameter_refs[0] if scale is not None else None
        bias_ref = parameter_refs[-1] if bias is not None else None

        def strip(at: Any, _: Any) -> None:
            def standardize(part: Lanes | GroupLanes, place: Callable[[Any], Any]) -> None:
                def load(i: Any) -> Array:
                    x = x_ref[(*at, lanes.at(place(i)))].astype(jnp.float32)
                    return lanes.filled(place(i), x)

                deviation, roots = row_statistics(part, load, epsilon_ref[0, 0], centred)
                root = part.spread(roots.root)

                def write(i: Any) -> None:
                    y, there = deviation(i) * root, lanes.at(place(i))
                    if scale_ref is not None:
                        y = y * scale_ref[:, there]
                    if bias_ref is not None:
                        y = y + bias_ref[:, there]
                    y_ref[(*at, there)] = y.astype(y_ref.dtype)

                part.each(write)

            each_slice(lanes, group, blocks.strip, standardize)

        each_strip(blocks, x.shape, strip)

    block = row_block(blocks, lanes)
    return launch(
        kernel,
        name="inox_normalize",
        grid=grid(blocks, x.shape),
        in_specs=[epsilon_block(), block, *[parameter_block(lanes)] * len(parameters)],
        out_specs=block,
        out_shape=shape_like(x, x.shape, x.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        cost_estimate=pl.CostEstimate(
            flops=12 * math.prod(x.shape),
            transcendentals=math.prod(x.shape[:2]) * LANES,
            bytes_accessed=2 * math.prod(x.shape) * x.dtype.itemsize,
        ),
    )(epsilon, x, *parameters)
