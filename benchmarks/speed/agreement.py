"""Before anything is timed: every contestant computes the norm it is named for.

The comparison is with the formulas in float64 NumPy, which share nothing with any library.
"""

from typing import NamedTuple

import numpy as np

from .cells import EPSILON, UNCENTRED, Cell, Data

# Largest error against the largest exact value. bfloat16 has 8 bits, and some libraries round
# intermediate results to it.
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.05}


def exact(cell: Cell, data: Data) -> list[np.ndarray]:
    """y, dx and the gradients of the parameters.

    With xhat = (x - mean) r and h = g scale: dx = r (h - <h> - xhat <xhat h>), without <h> where
    nothing is centred; dscale and dbias are the sums of g xhat and g over all but the channels.
    """
    x, g = data.x.astype(np.float64), data.g.astype(np.float64)
    shape = x.shape
    scale = data.parameters[0].astype(np.float64) if data.parameters else 1.0
    bias = data.parameters[1].astype(np.float64) if len(data.parameters) > 1 else 0.0
    h = g * scale
    if cell.kind in ("group", "position"):
        split = (*shape[:-1], cell.groups, cell.channels // cell.groups)
        x, h = x.reshape(split), h.reshape(split)
    axes = {
        "layer": (-1,),
        "rms": (-1,),
        "heads": (-1,),
        "position": (-1,),
        "batch": tuple(range(x.ndim - 1)),
        "group": (*range(1, x.ndim - 2), x.ndim - 1),
    }[cell.kind]

    def mean(a: np.ndarray) -> np.ndarray:
        return a.mean(axes, keepdims=True)

    uncentred = cell.kind in UNCENTRED
    centred = x if uncentred else x - mean(x)
    r = 1 / np.sqrt(mean(centred**2) + EPSILON)
    xhat = centred * r
    dx = r * (h - (0 if uncentred else mean(h)) - xhat * mean(xhat * h))
    xhat, dx = xhat.reshape(shape), dx.reshape(shape)
    rows = tuple(range(len(shape) - len(cell.parameter_shape)))
    gradients = [(g * xhat).sum(rows), g.sum(rows)][: len(data.parameters)]
    return [xhat * scale + bias, dx, *gradients]


class Agreement(NamedTuple):
    """What is wrong with the results of a contestant, and what is inexact; None if nothing."""

    wrong: str | None
    inexact: str | None


def compare(cell: Cell, expected: list[np.ndarray], found: list[np.ndarray]) -> Agreement:
    """Wrong is another shape, another y or dx, or a gradient of the parameters without a digit.

    Gradients of the parameters that are merely far off are inexact: some libraries add up a
    hundred thousand rows in bfloat16. That is theirs to choose, so they are timed, and it is told.
    """
    inexact = None
    for name, right, given in zip(("y", "dx", "dscale", "dbias"), expected, found, strict=False):
        if given.shape != right.shape:
            return Agreement(f"{name} has shape {given.shape} in place of {right.shape}", None)
        error = np.abs(given.astype(np.float64) - right).max() / np.abs(right).max()
        if error <= TOLERANCE[cell.dtype]:
            continue
        told = f"{name} is off by {error:.1e} of its largest value"
        if name in ("y", "dx") or not error < 1:  # a NaN is an error too
            return Agreement(told, None)
        inexact = inexact or told
    return Agreement(None, inexact)
