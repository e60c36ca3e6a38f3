"""Normalization in float64 NumPy, over any axes: what the classes of all frameworks compute."""

from collections.abc import Sequence

import numpy as np


def moments(x, axes: Sequence[int], mask=None, centred: bool = True):
    """Mean and biased variance of float64 or complex x, dimensions kept; of what the mask holds."""
    x = np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64)
    where = True if mask is None else np.broadcast_to(mask, x.shape)
    axes = tuple(axes)
    number = np.maximum(1, np.sum(np.broadcast_to(where, x.shape), axes, keepdims=True))
    mean = np.sum(x, axes, keepdims=True, where=where) / number if centred else 0 * number
    return mean, np.sum(np.abs(x - mean) ** 2, axes, keepdims=True, where=where) / number


def normalized(x, axes, epsilon, scale=1.0, bias=0.0, mask=None, centred=True):
    """x by its own moments; scale and bias broadcast. Where nothing takes part, the bias."""
    mean, var = moments(x, axes, mask, centred)
    xhat = (np.asarray(x) - mean) / np.sqrt(var + epsilon)
    if mask is not None:
        xhat = xhat * np.any(np.broadcast_to(mask, x.shape), tuple(axes), keepdims=True)
    return xhat * scale + bias


def grouped(x, groups: int, axes, epsilon, scale=1.0, bias=0.0, mask=None):
    """The last axis in groups; `axes` are reduced, the last among them."""
    x = np.asarray(x, np.float64)
    rank = x.ndim
    kept = [axis % rank for axis in axes if axis % rank != rank - 1]
    split = x.reshape(*x.shape[:-1], groups, -1)
    if mask is not None:
        mask = np.broadcast_to(mask, x.shape).reshape(split.shape)
    y = normalized(split, (*kept, rank), epsilon, mask=mask)
    return y.reshape(x.shape) * scale + bias


def ulp_of(dtype) -> float:
    """The spacing of numbers of a dtype at 1."""
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps)
