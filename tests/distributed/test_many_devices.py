"""Moments pooled by sums: their bytes don't grow with the devices, and they are as exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from examples.distributed.collectives import Collective, collectives_in
from inox import functional
from inox.functional.pooling import SplitMoments
from inox.functional.pooling_over_devices import GATHERED, pool_by_sums, pool_squares

FLOAT32, DEVICES = 4, 8
CHANNELS = GATHERED // DEVICES + 1  # the fewest that are not gathered
EPS = float(np.finfo(np.float32).eps)
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["all rows", "masked"])


@functools.cache
def step(way: str, masked: bool, backward: bool):
    """The compiled step of a batch norm of two rows a device, and what is sent."""
    mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(AxisType.Auto,))
    names = "rows" if way == "shard_map" else None

    def norm(x, where, scale):
        where = where if masked else None
        return functional.batch_norm(x, scale, where=where, axis_name=names)

    if way == "shard_map":
        specs = P("rows"), P("rows"), P()
        norm = jax.shard_map(norm, mesh=mesh, in_specs=specs, out_specs=(P("rows"), P()))

    def both(x, where, scale):
        y, pullback, moments = jax.vjp(
            lambda x, scale: norm(x, where, scale), x, scale, has_aux=True
        )
        return y, moments, pullback(jnp.cos(y))

    rows, everywhere = NamedSharding(mesh, P("rows")), NamedSharding(mesh, P())
    shapes = ((2 * DEVICES, CHANNELS), (2 * DEVICES, 1), (CHANNELS,))
    kinds = ((jnp.float32, rows), (jnp.bool_, rows), (jnp.float32, everywhere))
    arguments = [
        jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
        for shape, (dtype, sharding) in zip(shapes, kinds, strict=True)
    ]
    program = jax.jit(both if backward else norm).lower(*arguments).compile()
    shardings = rows, rows, everywhere
    return lambda *a: program(*map(jax.device_put, a, shardings)), collectives_in(program.as_text())


@MASKED
def test_sums_of_five_numbers_forward_and_four_backward(masked):
    """In `shard_map`: mean in halves of its digits and a size; then what is left, and squares.

    A mask adds the count. Backward, the gradients of mean and variance, and of the scale.
    """
    _, found = step("shard_map", masked, True)
    numbers = (3 + masked, 2, 3)
    assert found == [Collective("all-reduce", FLOAT32 * n * CHANNELS) for n in numbers]


def test_under_jit():
    """The same as the compiler splits the batch; backward the two sums of all gradients."""
    _, found = step("jit", False, True)
    assert found == [Collective("all-reduce", FLOAT32 * n * CHANNELS) for n in (3, 2, 2)]


@pytest.mark.parametrize("way", ["shard_map", "jit"])
@MASKED
def test_as_exact_as_one_device(way, masked):
    """Mean/std 1e6, the devices' means apart by as much: no digit of the moments is lost."""
    rng = np.random.default_rng(0)
    centre = 1e6 * (1 + np.arange(DEVICES).repeat(2))[:, None] * rng.choice([-1, 1], CHANNELS)
    x = (centre * rng.choice([1, 1e-6], CHANNELS)).astype(np.float32)
    x = (x + rng.normal(size=x.shape)).astype(np.float32)
    where = (np.arange(2 * DEVICES) % 5 > 0)[:, None]
    run, _ = step(way, masked, True)
    y, moments, (dx, _) = run(x, where, np.ones(CHANNELS, np.float32))
    kept = np.broadcast_to(where if masked else True, x.shape)
    wide, n = x.astype(np.float64), kept[:, :1].sum()
    mean = (wide * kept).sum(0) / n
    deviation = (wide - mean) * kept
    var = (deviation**2).sum(0) / n
    np.testing.assert_array_equal(np.asarray(moments.count), n)
    np.testing.assert_allclose(moments.mean, mean, rtol=EPS, atol=1e-6)
    np.testing.assert_allclose(moments.var, var, rtol=8 * EPS)
    xhat = deviation / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(y, xhat, rtol=0, atol=8 * EPS * np.abs(xhat).max())
    dy = np.cos(np.asarray(y, np.float64)) * kept
    exact = kept * (dy - dy.sum(0) / n - xhat * (dy * xhat).sum(0) / n) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(dx, exact, rtol=0, atol=32 * EPS * np.abs(exact).max())


def pooled(pool, x: np.ndarray, where: np.ndarray | None, centred: bool = True) -> SplitMoments:
    """The moments of parts (parts, elements, slices), pooled over a mapped axis of any length."""
    wide = x.astype(np.float64)
    kept = np.broadcast_to(True if where is None else where, x.shape)
    count = kept.sum(1)
    n = np.maximum(count, 1)
    mean = (wide * kept).sum(1) / n if centred else np.zeros(count.shape)
    scale = np.exp2(-np.floor(np.log2(np.abs(wide).max(1))))
    scaled = ((((wide - mean[:, None]) * scale[:, None]) ** 2) * kept).sum(1) / n
    high = mean.astype(np.float32)
    parts = SplitMoments(count, high, mean - high, scaled, scale)
    parts = SplitMoments(*(np.asarray(a, np.float32) for a in parts))
    most = None if where is None else x.shape[1]
    run = jax.vmap(lambda part: pool(part, None, most, ("parts",))[0], axis_name="parts")
    return jax.tree.map(lambda a: np.asarray(a[0], np.float64), jax.jit(run)(parts))


@MASKED
@pytest.mark.parametrize("parts", [3, 1000])
def test_a_thousand_parts(parts, masked):
    """Means of 1e6 deviations and of 0, spreads of 1e16 and 1e-16, and one outlier of a part.

    The mean in two halves is right to 2^-36 of itself or 2^-22 of the deviation.
    """
    rng = np.random.default_rng(1)
    x = rng.normal(size=(parts, 5, 5)) + np.array([1e6, 0, 0, 0, 3])
    x *= np.array([1, 1, 1e16, 1e-16, 1])
    x[-1, :, 4] += 1e6
    x = x.astype(np.float32)
    where = rng.uniform(size=(parts, 5, 1)) < 0.6 if masked else None
    if masked:
        where[0] = False
    kept = np.broadcast_to(True if where is None else where, x.shape)
    values = [x[..., i].astype(np.float64)[kept[..., i]] for i in range(5)]
    mean, var = (np.array([f(v) for v in values]) for f in (np.mean, np.var))
    found = pooled(pool_by_sums, x, where)
    np.testing.assert_array_equal(found.count, [v.size for v in values])
    error = np.abs(found.mean + found.mean_low - mean)
    assert (error <= 2.0**-36 * np.abs(mean) + 2.0**-22 * np.sqrt(var)).all()
    np.testing.assert_allclose(found.scaled / found.scale**2, var, rtol=8 * EPS)


def test_equal_numbers_have_no_variance():
    """However many parts have them: the mean is the number, the variance 0."""
    x = np.full((1000, 3, 4), np.float32(0.1)) * np.array([1, 3, 1e10, 1e-10], np.float32)
    found = pooled(pool_by_sums, x, None)
    np.testing.assert_array_equal(found.mean + found.mean_low, x[0, 0].astype(np.float64))
    np.testing.assert_array_equal(found.scaled, 0)


@MASKED
def test_mean_squares_of_a_thousand_parts(masked):
    """One sum, whatever the size of the numbers: 1e18 and 1e-18 among them, and parts of both."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1000, 5, 4)) * np.array([1, 1e18, 1e-18, 1])
    x[::2, :, 3] *= 1e-12
    x = x.astype(np.float32)
    where = rng.uniform(size=(1000, 5, 1)) < 0.6 if masked else None
    kept = np.broadcast_to(True if where is None else where, x.shape)
    square = (x.astype(np.float64) ** 2 * kept).sum((0, 1)) / kept.sum((0, 1))
    found = pooled(pool_squares, x, where, centred=False)
    np.testing.assert_allclose(found.scaled / found.scale**2, square, rtol=8 * EPS)
