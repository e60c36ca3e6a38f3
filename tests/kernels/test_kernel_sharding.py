"""Kernels on arrays that are split over eight devices: what crosses devices, read in the HLO."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from examples.distributed.collectives import Collective
from examples.distributed.collectives import collectives_in as collectives_of
from inox import functional
from tests.kernels.kernel_cases import (
    CHANNELS,
    NORMS,
    arrays,
    both,
    collectives_in,
    forward,
    kernels_in,
)
from tests.kernels.test_lowering import needs_kernels

pytestmark = [needs_kernels, pytest.mark.compiled_quickly]
EACH_NORM = pytest.mark.parametrize("name", NORMS)


@pytest.fixture
def mesh():
    return jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))


def placed(mesh, spec, operands):
    """x and dy split, parameters on every device."""
    split, everywhere = NamedSharding(mesh, spec), NamedSharding(mesh, P())
    return [jax.device_put(a, split if a.ndim > 1 else everywhere) for a in operands]


def compiled(program, operands):
    executable = jax.jit(program).lower(*operands).compile()
    return executable(*operands), executable.as_text()


def assert_equal_to_one_device(results, program):
    expected = jax.jit(program)(*arrays())
    for a, b in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-5)


@EACH_NORM
def test_forward_over_rows(name, mesh):
    """Rows need nothing of each other; batch norm one collective of a few numbers a channel."""
    program = forward(NORMS[name])
    results, text = compiled(program, placed(mesh, P("rows"), arrays()))
    assert kernels_in(text).total() == 1
    assert collectives_in(text) == ({"all-gather": 1} if name == "batch" else {})
    assert_equal_to_one_device(results, program)


@EACH_NORM
def test_forward_and_backward_over_rows(name, mesh):
    """The gradients of scale and bias are one sum over the devices."""
    program = both(NORMS[name])
    results, text = compiled(program, placed(mesh, P("rows"), arrays()))
    assert kernels_in(text).total() == 2
    gather = {"all-gather": 1} if name == "batch" else {}
    assert collectives_in(text) == gather | {"all-reduce": 1}
    assert_equal_to_one_device(results, program)


# What each norm sends where its 64 channels are split, in float32 numbers for each of 32 rows:
# forward, and forward and backward. The moments of the parts (RMS norm: a sum in two scalings), and
# backward those again with two sums about their means (RMS norm: one). XLA makes one sum of RMS
# norm's. Four groups have two devices each; batch norm needs nothing.
SENT = {
    "layer": ([("all-gather", 8 * 4)], [("all-gather", 8 * 4), ("all-gather", 8 * 6)]),
    "rms": ([("all-reduce", 2)], [("all-reduce", 2 + 3)]),
    "group": ([("all-gather", 2 * 4)], [("all-gather", 2 * 4), ("all-gather", 2 * 6)]),
    "batch": ([], []),
}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@EACH_NORM
def test_channels_that_are_split(name, kind):
    """One small collective forward, one backward, and no gather of x; kernels on the parts."""
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(kind,))
    x, dy, scale, bias = arrays()
    channels = NamedSharding(mesh, P("rows"))
    split = [jax.device_put(a, NamedSharding(mesh, P(None, "rows"))) for a in (x, dy)]
    split += [jax.device_put(a, channels) for a in (scale, bias)]
    expected = SENT[name]
    if (name, kind) == ("group", AxisType.Explicit):
        # The moments of all groups, and two gradients of each, by a shard_map of the whole.
        gather = ("all-gather", 8 * 4)
        expected = [gather], [gather, ("all-reduce", 2 * 4)]
    for make, sent in zip((forward, both), expected, strict=True):
        program = make(NORMS[name])
        with jax.set_mesh(mesh):
            results, text = compiled(program, split)
        if name != "rms":  # whose mean squares are the formula's
            assert kernels_in(text)
        assert collectives_of(text) == [Collective(kind_, 4 * 32 * n) for kind_, n in sent]
        assert_equal_to_one_device(results, program)


@pytest.mark.parametrize("name", ["layer", "rms"])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_channels_and_rows_that_are_split(name, kind):
    """On 4 x 2 devices the gradients of scale and bias are a sum over rows beside it."""
    mesh = jax.make_mesh((4, 2), ("rows", "channels"), axis_types=(kind,) * 2)
    x, dy, scale, bias = arrays()
    split = [jax.device_put(a, NamedSharding(mesh, P("rows", "channels"))) for a in (x, dy)]
    split += [jax.device_put(a, NamedSharding(mesh, P("channels"))) for a in (scale, bias)]
    program = both(NORMS[name])
    with jax.set_mesh(mesh):
        results, text = compiled(program, split)
    small = 4 * 8 * 2 * (4 + 6) if name == "layer" else 4 * 8 * (2 + 3)  # of 8 rows
    parameters = 4 * 2 * CHANNELS // 2
    assert sum(one.bytes for one in collectives_of(text)) == small + parameters
    assert_equal_to_one_device(results, program)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize("name", ["layer", "group"])
def test_large_means_of_channels_that_are_split(name, kind):
    """Mean/std 1e6: y is as near float64 as on one device, but for two units of 2^-24."""
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(kind,))
    x = arrays()[0] + np.float32(2e6)
    scale, bias = np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32)
    wide = x.astype(np.float64).reshape(32, 4 if name == "group" else 1, -1)
    exact = wide - wide.mean(-1, keepdims=True)
    exact = (exact / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)).reshape(x.shape)
    alone = NORMS[name](x, scale, bias, None)
    with jax.set_mesh(mesh):
        split = jax.device_put(x, NamedSharding(mesh, P(None, "rows")))
        y = jax.jit(lambda x: NORMS[name](x, scale, bias, None))(split)
    unit = np.abs(exact).max() * 2.0**-24
    error, of_one = (np.abs(np.asarray(a, np.float64) - exact).max() / unit for a in (y, alone))
    assert error <= of_one + 2


@EACH_NORM
def test_rows_that_the_devices_do_not_divide(name, mesh):
    """27 rows on 8 devices: what the partitioner fills up with enters no sum."""
    operands = arrays(rows=27)

    def program(x, dy, scale, bias):
        x = jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P("rows")))
        return both(NORMS[name])(x, dy, scale, bias)

    results = jax.jit(program)(*placed(mesh, P(), operands))
    expected = jax.jit(both(NORMS[name]))(*operands)
    for a, b in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-5)


def test_images_on_a_mesh_of_two_axes():
    """Instance norm, split over images and channels at once: each device has its own slices."""
    mesh = jax.make_mesh((4, 2), ("images", "channels"), axis_types=(AxisType.Auto,) * 2)
    x = np.random.default_rng(0).standard_normal((8, 5, 6, 12)).astype(np.float32)
    scale = np.linspace(0.5, 2, 12, dtype=np.float32)

    def program(x, scale):
        y, pull = jax.vjp(lambda *a: functional.layer_norm(*a, axis=(-3, -2)), x, scale)
        return y, pull(jnp.cos(x))

    split = NamedSharding(mesh, P("images", None, None, "channels"))
    operands = jax.device_put(x, split), jax.device_put(scale, NamedSharding(mesh, P("channels")))
    results, text = compiled(program, operands)
    assert kernels_in(text).total() == 2
    assert collectives_in(text) == {"all-reduce": 1}
    for a, b in zip(
        jax.tree.leaves(results), jax.tree.leaves(jax.jit(program)(x, scale)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-5)


@EACH_NORM
def test_inside_a_checked_shard_map(name, mesh):
    """Kernels on the local shards, with one sum over the devices in the backward pass."""
    norm = NORMS[name]
    if name == "batch":

        def norm(x, scale, bias, implementation):
            return functional.batch_norm(x, scale, bias, axis_name="rows")[0]

    specs = P("rows"), P("rows"), P(), P()
    program = jax.shard_map(
        both(norm), mesh=mesh, in_specs=specs, out_specs=(P("rows"), (P("rows"), P(), P()))
    )
    results, text = compiled(program, placed(mesh, P("rows"), arrays()))
    assert kernels_in(text).total() == 2
    gather = {"all-gather": 1} if name == "batch" else {}
    assert collectives_in(text) == gather | {"all-reduce": 1}
    assert_equal_to_one_device(results, both(NORMS[name]))


def test_statistics_of_devices_whose_means_are_far_apart(mesh):
    """Pooled by Chan's formula: mean/std 1e6 within each device, means apart by as much."""
    rng = np.random.default_rng(3)
    centre = np.repeat(1e6 + 1e3 * np.arange(8), 16)[:, None]
    x = (centre + rng.standard_normal((128, 4))).astype(np.float32)

    def program(x):
        return functional.moments(x, axis=0)

    operand = jax.device_put(x, NamedSharding(mesh, P("rows")))
    (_, mean, var), text = compiled(program, [operand])
    assert kernels_in(text).total() == 1
    assert collectives_in(text) == {"all-gather": 1}
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1.2e-7)
    np.testing.assert_allclose(var, wide.var(0), rtol=4 * 1.2e-7)
