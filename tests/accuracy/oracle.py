"""The exact results: normalization and its gradient in 80-bit arithmetic.

Inputs are converted exactly and nothing is rounded to their precision on the way. Every slice is
brought to a row of a matrix first, so that sums run over contiguous memory, where NumPy adds
pairwise. What this is worth is tested in `test_oracle.py`, against arithmetic with 60 digits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Wide = np.longdouble
# 64 bits of mantissa on x86, 113 on some others; a plain double can't judge a double.
assert np.finfo(Wide).nmant >= 63, "these tests need a platform with extended precision"


def widened(array: ArrayLike) -> np.ndarray:
    """The same numbers in extended precision; bfloat16 goes by way of float32, exactly."""
    array = np.asarray(array)
    if array.dtype.itemsize == 2:
        array = array.astype(np.float32)
    return array.astype(Wide)


@dataclass(frozen=True)
class Slices:
    """Which elements of an array of `shape` share a mean and a variance.

    Args:
        shape: The shape of the input.
        axis: The axes of the input, seen as `(..., groups, channels of a group)` if it is split.
        groups: In how many groups the last axis is split; 0 for no split.
    """

    shape: tuple[int, ...]
    axis: tuple[int, ...]
    groups: int = 0

    @property
    def view(self) -> tuple[int, ...]:
        """The shape in which slices are whole axes."""
        if not self.groups:
            return self.shape
        return (*self.shape[:-1], self.groups, self.shape[-1] // self.groups)

    @property
    def view_axis(self) -> tuple[int, ...]:
        """The axes of a slice in `view`, in order."""
        rank = len(self.shape)
        axes = (axis % rank for axis in self.axis)
        return tuple(sorted(rank if self.groups and a == rank - 1 else a for a in axes))

    @property
    def kept(self) -> tuple[int, ...]:
        """The other axes of `view`."""
        return tuple(a for a in range(len(self.view)) if a not in self.view_axis)

    def rows(self, array: np.ndarray) -> np.ndarray:
        """An array, broadcast to the shape of the input, as a matrix with a slice a row."""
        array = np.broadcast_to(array, self.shape).reshape(self.view)
        matrix = array.transpose(*self.kept, *self.view_axis)
        size = math.prod(self.view[a] for a in self.view_axis)
        return np.ascontiguousarray(matrix.reshape(-1, size))

    def unrows(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of `rows`; a matrix with one column is spread over the slices."""
        order = (*self.kept, *self.view_axis)
        size = math.prod(self.view[a] for a in self.view_axis)
        matrix = np.broadcast_to(matrix, (matrix.shape[0], size))
        moved = matrix.reshape([self.view[a] for a in order])
        return moved.transpose(np.argsort(order)).reshape(self.shape)


@dataclass(frozen=True)
class Exact:
    """The exact results, in the shapes that the library gives them; moments are one a slice.

    `dx_floor` is rstd * rms(dy * scale) of each element's slice; `dscale_terms` and `dbias_terms`
    are the sums of abs(dy) max(abs(xhat), 1) and of abs(dy): the scales on which the errors of dx,
    dscale and dbias are told.
    """

    y: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    rstd: np.ndarray
    dx: np.ndarray
    dscale: np.ndarray
    dbias: np.ndarray
    dx_floor: np.ndarray
    dscale_terms: np.ndarray
    dbias_terms: np.ndarray


def row_mean(matrix: np.ndarray) -> np.ndarray:
    """The mean of each row, dimension kept."""
    return matrix.sum(-1, keepdims=True) / Wide(matrix.shape[-1])


def reduce_to(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The sum over whatever broadcasting from `shape` to `array.shape` repeats."""
    shape_in_full = (1,) * (array.ndim - len(shape)) + tuple(shape)
    summed = tuple(a for a in range(array.ndim) if shape_in_full[a] == 1)
    kept = tuple(a for a in range(array.ndim) if a not in summed)
    terms = array.transpose(*kept, *summed).reshape(*(array.shape[a] for a in kept), -1)
    return np.ascontiguousarray(terms).sum(-1).reshape(shape)


def normalized(
    slices: Slices,
    x: ArrayLike,
    dy: ArrayLike,
    scale: ArrayLike,
    bias: ArrayLike,
    epsilon: ArrayLike,
    *,
    centred: bool = True,
) -> Exact:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, and the gradient of sum(y * dy).

    Without `centred` the mean counts as 0, as in RMS norm. Where x isn't finite the results of
    its slice aren't either.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = slices.rows(widened(x))
        if centred:
            # In two steps: the difference to a mean rounded to double precision is exact where
            # the mean is large, and its mean is what the rounding left out.
            rounded = row_mean(rows).astype(np.float64).astype(Wide)
            deviation = rows - rounded
            residual = row_mean(deviation)
            deviation = deviation - residual
            mean = rounded + residual
        else:
            deviation, mean = rows, np.zeros_like(rows[:, :1])
        var = row_mean(np.square(deviation))
        rstd = 1 / np.sqrt(var + widened(epsilon))
        xhat = deviation * rstd

        dy = widened(dy)
        scale, bias = widened(scale), widened(bias)
        dxhat = slices.rows(dy * scale)
        dx = dxhat - xhat * row_mean(dxhat * xhat)
        if centred:
            dx = dx - row_mean(dxhat)
        spread_xhat = slices.unrows(xhat)
        return Exact(
            y=spread_xhat * scale + bias,
            mean=mean[:, 0],
            var=var[:, 0],
            rstd=rstd[:, 0],
            dx=slices.unrows(dx * rstd),
            dscale=reduce_to(dy * spread_xhat, scale.shape),
            dbias=reduce_to(dy, bias.shape),
            dx_floor=slices.unrows(rstd * np.sqrt(row_mean(np.square(dxhat)))),
            dscale_terms=reduce_to(np.abs(dy) * np.maximum(np.abs(spread_xhat), 1), scale.shape),
            dbias_terms=reduce_to(np.abs(dy), bias.shape),
        )
