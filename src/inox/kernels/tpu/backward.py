r"""The kernel of `normalize_cotangent`: x and dy are read once and dx written once.

With :math:`g = \gamma \bar y`, d the centred x and r the reciprocal deviation,

.. math:: \bar x = r (g - \langle g \rangle - d \, r^2 \langle d g \rangle), \qquad
    \bar\gamma = \sum \bar y \, (r d), \qquad \bar\beta = \sum \bar y

(`functional/normalize.py`). :math:`r^2` is a number of its own, rounded once: as the square of the
rounded r it would err by 2 ulp, and where one element carries most of the variance, what is
subtracted would not cancel.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..jax_internals import pallas, shape_like
from .block_sizes import Blocks
from .column_sums import ColumnSums
from .exact_arithmetic import divided_plainly
from .group_lanes import GroupLanes, each_slice
from .lanes import LANES, Lanes
from .launching import launch
from .row_statistics import row_statistics
from .strips import (
    each_strip,
    epsilon_block,
    first_block,
    grid,
    last_block,
    parameter_block,
    row_block,
)

Array = jax.Array


class Wanted(NamedTuple):
    """Which gradients are asked for.

    Args:
        x: That of x.
        scale: That of the scale.
        bias: That of the bias.
    """

    x: bool
    scale: bool
    bias: bool


def gradients_of_rows(
    dy: Array,
    x: Array,
    epsilon: Array,
    scale: Array | None,
    *,
    blocks: Blocks,
    centred: bool,
    wanted: Wanted,
    group: int = 0,
) -> dict[str, Array]:
    """The gradients with respect to x, scale and bias, those that are wanted.

    Args:
        dy: An array of (sheets, rows, channels).
        x: Another, of the same dtype.
        epsilon: A float32 of (1, 1).
        scale: A float32 of (1, channels), or None.
        blocks: How many rows at a time.
        centred: Whether the mean is subtracted.
        wanted: Which are.
        group: How many channels a group has; 0 where a row is a slice.
    """
    pl, pltpu = pallas()
    rows, lanes = x.shape[1], Lanes(x.shape[-1])
    parameters = [] if scale is None else [scale]
    names = [name for name, asked in wanted._asdict().items() if asked]
    sums = [name for name in names if name != "x"]
    row = shape_like(x, (1, lanes.channels), jnp.float32)

    def kernel(epsilon_ref: Any, dy_ref: Any, x_ref: Any, *refs: Any) -> None:
        given = len(parameters)
        scale_ref = refs[0] if given else None
        outputs = dict(zip(names, refs[given:], strict=False))
        scratch = refs[given + len(names) :]
        columns = {
            name: ColumnSums(lanes, *scratch[2 * i : 2 * i + 2]) for i, name in enumerate(sums)
        }

        @pl.when(first_block())
        def _() -> None:
            for column in columns.values():
                column.clear()

        def strip(at: Any, left: Array) -> None:
            def there(i: Any, array: Array) -> Array:
                """Zeros for what lies beyond the last channel or row."""
                array = lanes.filled(i, array)
                if rows % blocks.strip == 0 or not sums:
                    return array
                row = lax.broadcasted_iota(jnp.int32, array.shape, 0)
                return jnp.where(row < left, array, jnp.zeros_like(array))

            def differentiate(part: Lanes | GroupLanes, place: Callable[[Any], Any]) -> None:
                def loaded(ref: Any) -> Callable[[Any], Array]:
                    return lambda i: there(
                        place(i), ref[(*at, lanes.at(place(i)))].astype(jnp.float32)
                    )

                gradient = part.kept(loaded(dy_ref))
                deviation, roots = row_statistics(part, loaded(x_ref), epsilon_ref[0, 0], centred)
                root = part.spread(roots.root)

                def scaled(i: Any) -> Array:
                    if scale_ref is None:
                        return gradient(i)
                    g = gradient(i) * scale_ref[:, lanes.at(place(i))]
                    return lanes.filled(place(i), g)

                if sums:

                    def add(i: Any) -> None:
                        if "scale" in columns:
                            terms = gradient(i) * (deviation(i) * root)
                            columns["scale"].add(place(i), terms)
                        if "bias" in columns:
                            columns["bias"].add(place(i), gradient(i))

                    part.each(add)
                if not wanted.x:
                    return
                dx_ref = outputs["x"]
                along, mean = _projections(part, scaled, deviation, centred)
                along = part.spread(along * roots.square)
                mean = None if mean is None else part.spread(mean)

                def write(i: Any) -> None:
                    g = scaled(i) if mean is None else scaled(i) - mean
                    dx = root * (g - deviation(i) * along)
                    dx_ref[(*at, lanes.at(place(i)))] = dx.astype(dx_ref.dtype)

                part.each(write)

            each_slice(lanes, group, blocks.strip, differentiate)

        each_strip(blocks, x.shape, strip)

        @pl.when(last_block())
        def _() -> None:
            for name, column in columns.items():
                column.write(outputs[name])

    block = row_block(blocks, lanes)
    results = launch(
        kernel,
        name="inox_normalize_cotangent",
        grid=grid(blocks, x.shape),
        in_specs=[epsilon_block(), block, block, *[parameter_block(lanes)] * len(parameters)],
        out_specs=[block if name == "x" else parameter_block(lanes) for name in names],
        out_shape=[shape_like(x, x.shape, x.dtype) if name == "x" else row for name in names],
        scratch_shapes=[memory for _ in sums for memory in ColumnSums.memory(lanes)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("arbitrary" if sums else "parallel",) * 2
        ),
        cost_estimate=pl.CostEstimate(
            flops=30 * math.prod(x.shape),
            transcendentals=math.prod(x.shape[:2]) * LANES,
            bytes_accessed=(2 + wanted.x) * math.prod(x.shape) * x.dtype.itemsize,
        ),
    )(epsilon, dy, x, *parameters)
    return dict(zip(names, results, strict=True))


def _projections(
    lanes: Lanes | GroupLanes, g: Any, deviation: Any, centred: bool
) -> tuple[Array, Array | None]:
    """The means of d g and of g; of the latter there is none for RMS norm."""
    if not centred:
        (along,) = lanes.sums(lambda i: (g(i) * deviation(i),))
        return divided_plainly(along, lanes.channels), None
    along, total = lanes.sums(lambda i: (g(i) * deviation(i), g(i)))
    return divided_plainly(along, lanes.channels), divided_plainly(total, lanes.channels)
