"""Moments of a stream in float64 NumPy, which share nothing with the package."""

from typing import Any

import numpy as np

from inox.streaming import Stream


def exact(high: Any, low: Any) -> np.ndarray:
    """A pair of numbers as one in float64."""
    return np.asarray(high, np.float64) + np.asarray(low, np.float64)


def moments_of(stream: Stream) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and variance of a stream of one leaf, in float64."""
    count = exact(stream.count, stream.count_low)
    squares = exact(stream.squares, stream.squares_low)
    return count, exact(stream.mean, stream.mean_low), squares / np.maximum(count, 1e-30)


def moments(x: Any, weights: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and variance along the first axis; what has weight 0 takes no part."""
    x = np.asarray(x, np.float64)
    w = np.ones_like(x) if weights is None else np.broadcast_to(weights, x.shape)
    w = np.asarray(w, np.float64)
    x = np.where(w > 0, x, 0)
    count = w.sum(0)
    mean = (w * x).sum(0) / np.maximum(count, 1e-30)
    return count, mean, (w * (x - mean) ** 2).sum(0) / np.maximum(count, 1e-30)


def assert_agree(stream: Stream, expected: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """The bound of `inox.functional.pairs`: 16 u of the deviation, 64 u of the variance."""
    count, mean, var = moments_of(stream)
    np.testing.assert_allclose(count, expected[0], rtol=2**-23)
    deviation = np.sqrt(expected[2])
    assert np.all(np.abs(mean - expected[1]) <= 2**-20 * deviation + 1e-13 * np.abs(expected[1]))
    np.testing.assert_allclose(var, expected[2], rtol=2**-18, atol=1e-30)
