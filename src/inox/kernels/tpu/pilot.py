"""The moments of slices by one pass about a pilot mean, as XLA's compiler for TPU does it best.

- Sums of one array that do not wait for each other it makes one pass of by itself. A reshape into
  stages, or a reduction of several arrays by one loop, it does not: terms are written and copied.
- What enters a branch lies in memory in the order of its shape. Channels seen as groups would be
  copied for it, x and dy (2 passes each), so they enter as channels.
- A sample takes all channels of a group, or the lanes of a register, for the same reason.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..kernel import Axes
from ..mapped_axes import align_varying_axes
from ..pilot import SAMPLE, Slices, about, is_far, nearer, no_pilot, pilot_of, spaced
from .lanes import LANES

Array = jax.Array


class Squeezed(Slices):
    """Slices whose roots are computed without the dimensions of size 1.

    In front of lanes, as in the statistics of rows, those are filled up to a register.
    """

    def reciprocal_deviation(self, epsilon: Array) -> tuple[Array, Array, Array]:
        """The numbers of :class:`..pilot.Slices`."""
        flat = Slices(*map(jnp.squeeze, self[:3]))
        root, power, denominator = flat.reciprocal_deviation(epsilon.reshape(()))
        shape = self.variance.shape
        return root.reshape(shape), power.reshape(shape), denominator.reshape(shape)


def apart(terms: Sequence[Array], axes: Axes) -> list[Array]:
    """The sums of arrays, each by itself."""
    return [jnp.sum(term, axes, keepdims=True) for term in terms]


def slices(
    x: Array,
    axes: Axes,
    dy: Array | None = None,
    scale: Array | None = None,
) -> Slices:
    """The moments of slices; with `dy`, also the means that the gradient needs, of g = dy scale."""
    # Of rows no part is sampled: where their channels stand in the lanes' place, one of them is an
    # eighth of x to read. They are looked at about 0, which for most is near their mean, and where
    # it is not, the mean that was found errs by units of itself: so it is found once more.
    of_rows = _are_rows(x.shape, axes)
    merged = _merged(x, axes)
    if of_rows:
        # Both branches below have to say alike along which mapped axes it varies.
        pilot, _ = align_varying_axes((no_pilot(x, axes), x))
    else:
        pilot = pilot_of(_sample(merged, x.shape, axes), axes)
    found = about(pilot, x, axes, dy, scale, centred=True, sums=apart)

    shape, kept = x.shape, pilot.shape
    lanes = _in_lanes(merged.shape) if merged.ndim == x.ndim else -1

    def turn(array: Array) -> Array:
        return jnp.moveaxis(array, lanes, -1)

    def again(x: Array, dy: Array | None) -> list[Array]:
        of_x, along, near = scale, axes, nearer(found)
        if lanes == -1:
            x, dy = x.reshape(shape), None if dy is None else dy.reshape(shape)
        else:
            of_x, near = None if scale is None else turn(scale), turn(near)
            along = tuple(-1 if a == lanes else a - 1 if a > lanes else a for a in axes)
        if of_rows:
            near = nearer(about(near, x, along, None, None, centred=True, sums=apart))
        other = about(near, x, along, dy, of_x, centred=True, sums=apart)
        back = (None if array is None else jnp.moveaxis(array, -1, lanes) for array in other)
        return _flat(Slices(*back))  # pyright: ignore[reportArgumentType] (the first three are)

    def enough(x: Array, dy: Array | None) -> list[Array]:
        return _flat(found)

    given = [None if array is None else turn(_merged(array, axes)) for array in (x, dy)]
    chosen = lax.cond(is_far(found), again, enough, *given)
    return Squeezed(*(array.reshape(kept) for array in chosen))


def _flat(found: Slices) -> list[Array]:
    """What there is of it, without the dimensions of size 1.

    In front of lanes those are filled up to a register. The means of g are all there, or none is.
    """
    return [jnp.squeeze(array) for array in found if array is not None]


def _in_lanes(shape: Sequence[int]) -> int:
    """The axis, counted from the end, that XLA lays an array out with in the lanes.

    That is the one that leaves the fewest of them empty: of 352 images of 64 channels the images.
    In a branch the order of the shape is taken, to which x would be copied: 2 arrays of its size,
    filled up to 128 lanes. (Where this is not what XLA does, such copies are all that follows.)
    """

    def filled(axis: int) -> float:
        return -(-shape[axis] // LANES) * LANES / shape[axis]

    return min(range(-1, -len(shape) - 1, -1), key=filled)


def _are_rows(shape: Sequence[int], axes: Axes) -> bool:
    """Whether slices are the last axis."""
    return -1 in axes and all(shape[axis] == 1 for axis in axes if axis != -1)


def is_grouped(shape: Sequence[int], axes: Axes) -> bool:
    """Whether slices take a part of the channels, which are seen as groups, and more than that."""
    return -1 in axes and len(shape) > 1 and -2 not in axes and not _are_rows(shape, axes)


def _merged(x: Array, axes: Axes) -> Array:
    """Groups of channels as channels again."""
    if not is_grouped(x.shape, axes):
        return x
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _sample(merged: Array, shape: Sequence[int], axes: Axes) -> Array:
    """Some elements of each slice, evenly spaced along leading axes, in the rank of the slices."""
    dimensions = sorted(axis + len(shape) for axis in axes)
    grouped = merged.ndim != len(shape)
    start, stop, strides, taken = [0] * merged.ndim, list(merged.shape), [1] * merged.ndim, 1
    if dimensions[-1] == len(shape) - 1:
        dimensions.pop()
        taken = shape[-1] if grouped else min(shape[-1], LANES)
        if not grouped:
            stop[-1] = taken
    for axis in dimensions:
        wanted = min(shape[axis], -(-SAMPLE // taken))
        start[axis], stop[axis], strides[axis] = spaced(shape[axis], wanted)
        taken *= wanted
    sample = lax.slice(merged, start, stop, strides)
    return sample.reshape(*sample.shape[:-1], *shape[-2:]) if grouped else sample
