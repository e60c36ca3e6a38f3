"""Values over mapped axes, of a `shard_map` or a `vmap`: marked, gathered, added up.

The two kinds differ in what JAX asks for: a `shard_map` with checks on keeps count of the axes over
which a value varies, and refuses to mix values that differ in it; a `vmap` has the data of all
positions at hand. Here both are one tuple of names. How JAX keeps count is no documented interface
(:mod:`.jax_internals`); the collectives are, tested with the same versions.
"""

from collections.abc import Hashable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .jax_internals import manual_axis_names, varying_axes

Names = tuple[Hashable, ...]
# Which positions of one mapped axis belong together; None where all do.
IndexGroups = tuple[tuple[int, ...], ...] | None


def axis_size(name: Any) -> Any:
    """How many positions a mapped axis has. JAX takes any name; its annotation is of strings."""
    return lax.axis_size(name)


def position_along(names: tuple[Any, ...]) -> Any:
    """The position along several mapped axes, the last one fastest."""
    position = jnp.zeros((), jnp.int32)
    for name in names:
        position = position * axis_size(name) + lax.axis_index(name)
    return position


def vary_over(x: Any, axis_names: frozenset[Any]) -> Any:
    """Marks `x` as varying over `axis_names` too, where a `shard_map` keeps count of that."""
    missing = (axis_names & manual_axis_names()) - varying_axes(x)
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


def align_varying_axes(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Makes all arrays vary over the union of their varying axes.

    A `shard_map` with checks on refuses a primitive that mixes a replicated scale with a sharded
    x. The transpose of this cast is the sum over devices that the gradient of the replicated
    operand needs.
    """
    union: frozenset[str] = frozenset().union(*map(varying_axes, arrays))
    return tuple(vary_over(array, union) for array in arrays)


def gather(x: Any, axis_names: tuple[Any, ...]) -> Any:
    """Stacks `x` of all positions along mapped axes in front; the same value on each device.

    Over the axes of a `shard_map` this is one collective, whose result counts as replicated;
    over those of a `vmap` the data is there already.
    """
    mesh = tuple(name for name in axis_names if name in manual_axis_names())
    x = x[None]
    for name in axis_names:  # a tuple of mapped names is refused: one after the other
        if name not in mesh:
            x = _flatten_front(lax.all_gather(x, name))
    if mesh:
        x = vary_over(x, frozenset(mesh))
        # With the checks of shard_map off nothing varies as far as JAX knows. Then the transpose
        # must sum over the devices itself; with them on, it is the use of the result that sums.
        checked = varying_axes(x).issuperset(mesh)
        to: Any = "invarying" if checked else "varying"
        x = _flatten_front(lax.all_gather(x, mesh, to=to))
    return x


def gathered_order(axis_names: Names) -> Names:
    """The names by which :func:`gather` stacks, the slowest first."""
    manual = manual_axis_names()
    mapped = [name for name in axis_names if name not in manual]
    return (*(name for name in axis_names if name in manual), *reversed(mapped))


def add_up(x: Any, axis_names: tuple[Any, ...]) -> Any:
    """The sum of `x` over mapped axes; the same value on each device, by one collective."""
    return lax.psum(vary_over(x, frozenset(axis_names)), axis_names)


def gather_within(x: Any, axis_name: Any, groups: tuple[tuple[int, ...], ...]) -> tuple[Any, Any]:
    """Stacks `x` of the positions of one's own group along a mapped axis, in front.

    JAX itself gathers within groups of one size, over devices alone. Elsewhere a shorter group is
    filled up with repetitions: the second result tells which entries are none (one dimension).
    """
    width = max(map(len, groups))
    if axis_name in manual_axis_names() and all(len(group) == width for group in groups):
        x = vary_over(x, frozenset([axis_name]))
        return lax.all_gather(x, axis_name, axis_index_groups=groups), np.ones(width, bool)
    table = np.zeros((sum(map(len, groups)), width), np.int32)
    there = np.zeros(table.shape, bool)
    for group in groups:
        table[list(group)] = [*group, *[group[0]] * (width - len(group))]
        there[list(group), : len(group)] = True
    position = lax.axis_index(axis_name)
    everything = lax.all_gather(x, axis_name)
    return everything[jnp.asarray(table)[position]], jnp.asarray(there)[position]


def _flatten_front(x: Any) -> Any:
    return x.reshape(-1, *x.shape[2:])
