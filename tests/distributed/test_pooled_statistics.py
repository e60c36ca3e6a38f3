"""Batch norm of a batch that eight devices share: statistics, output and gradients of the whole.

Meshes of 8 and of 4 x 2 devices, rows split by the compiler (`jit`) or by hand (`shard_map`,
`vmap`), float32 and bfloat16, with and without a mask that leaves the devices unequal numbers of
rows, two of them none. The oracle is NumPy in float64 on the whole batch.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import oracle
from tests.distributed.ways import CHANNELS, DEVICES, ROWS, WAYS, Way, mask_of, place, split
from tests.functional.closeness import assert_close
from tests.functional.programs import check_gradients, quick_jit

COUNTS = (8, 5, 0, 1, 8, 0, 3, 2)
EACH_WAY = pytest.mark.parametrize("way", WAYS, ids=str)
EPS = float(np.finfo(np.float32).eps)


@functools.cache
def program(way: Way, masked: bool):
    """The compiled (arrays, where, cotangents) -> (results, gradients)."""
    norm = split(way, masked)

    @quick_jit
    def run(arrays, where, cotangents):
        def results(arrays):
            y, moments = norm(arrays["x"], where, arrays)
            return {"y": y, "mean": moments.mean, "var": moments.var}, moments.count

        values, pullback, count = jax.vjp(results, arrays, has_aux=True)
        return values | {"count": count}, pullback(cotangents)[0]

    return run


def evaluate(way: Way, masked: bool, x: np.ndarray, seed: int = 1):
    """Results and gradients, and what the oracle needs to judge them."""
    rng = np.random.default_rng(seed)
    arrays = {
        "x": x,
        "scale": rng.uniform(0.5, 1.5, CHANNELS).astype(np.float32),
        "bias": rng.normal(size=CHANNELS).astype(np.float32),
        "epsilon": np.float32(0.125),
    }
    cotangents = {
        "y": rng.normal(size=x.shape).astype(x.dtype),
        "mean": rng.normal(size=CHANNELS).astype(np.float32),
        "var": rng.normal(size=CHANNELS).astype(np.float32),
    }
    where = mask_of(COUNTS) if masked else mask_of((ROWS,) * DEVICES)
    if masked:
        arrays["x"] = np.where(where, x, np.asarray(np.nan, x.dtype))
    given = arrays | {"x": place(way, arrays["x"])}
    placed = cotangents | {"y": place(way, cotangents["y"])}
    values, gradients = program(way, masked)(given, place(way, where), placed)
    return values, gradients, arrays, where if masked else None, cotangents


@EACH_WAY
@pytest.mark.parametrize("masked", [False, True], ids=["all rows", "unequal counts"])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_all_of_it_is_that_of_the_whole_batch(way, masked, dtype):
    """Output, moments, and the gradients of x, scale, bias and epsilon, to the oracle's bounds.

    The means of the devices differ by several deviations. The bounds: a few float32 roundings
    relative to the largest term of a sum, and one rounding to a half type at the end.
    """
    rng = np.random.default_rng(0)
    offset = np.repeat(rng.normal(0, 5, DEVICES), ROWS)[:, None]
    x = (rng.normal(1, 2, (DEVICES * ROWS, CHANNELS)) + offset).astype(dtype)
    values, gradients, arrays, where, cotangents = evaluate(way, masked, x)
    reference = oracle.Normalization(oracle.slices(x.shape, 0))
    exact = reference.evaluate(oracle.as_float64(arrays), where)
    assert values["y"].dtype == gradients["x"].dtype == dtype
    np.testing.assert_array_equal(values["count"], exact["count"])
    assert_close(values["y"], exact["y"], "y", statistics=np.float32)
    # The largest mean of a device is about 15; it is what its terms are rounded by.
    assert_close(values["mean"], exact["mean"], "mean", size=np.array(15.0))
    assert_close(values["var"], exact["var"], "var")
    check_gradients(reference, gradients, arrays, cotangents, where)
    if masked:
        for left_out in (values["y"], gradients["x"]):
            np.testing.assert_array_equal(np.asarray(left_out)[~where[:, 0]], 0)


@EACH_WAY
@pytest.mark.parametrize("masked", [False, True], ids=["all rows", "unequal counts"])
@pytest.mark.parametrize("apart", [0.0, 1e3, 1e6])
def test_large_means(way, masked, apart):
    """Mean/std 1e6 on every device, their means alike or far apart: no digit is lost.

    The bounds: the mean is rounded once, the variance by a few operations on each device and in
    the pooling, the output by a few relative to its largest entry. A variance from E[x²] - E[x]²
    would have an error of 1e12 · 2⁻²⁴, 6e4 times itself.
    """
    rng = np.random.default_rng(2)
    centre = 1e6 + apart * np.repeat(np.arange(DEVICES), ROWS)[:, None]
    # Of both signs: the mean 0 of a device without rows lies above or below those of the others.
    sign = np.array([1, -1, 1, -1])
    x = (sign * centre + rng.normal(size=(DEVICES * ROWS, CHANNELS))).astype(np.float32)
    values, _, arrays, where, _ = evaluate(way, masked, x)
    reference = oracle.Normalization(oracle.slices(x.shape, 0))
    exact = reference.evaluate(oracle.as_float64(arrays), where)
    np.testing.assert_allclose(values["mean"], exact["mean"], rtol=EPS)
    np.testing.assert_allclose(values["var"], exact["var"], rtol=8 * EPS)
    largest = np.abs(exact["y"]).max()
    np.testing.assert_allclose(values["y"], exact["y"], rtol=0, atol=8 * EPS * largest)
