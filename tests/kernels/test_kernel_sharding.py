"""Kernels on arrays that are split over eight devices: what crosses devices, read in the HLO."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from inox import functional
from tests.kernels.kernel_cases import (
    NORMS,
    arrays,
    both,
    collectives_in,
    forward,
    kernels_in,
)
from tests.kernels.test_lowering import needs_kernels

pytestmark = needs_kernels
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


@EACH_NORM
def test_channels_that_are_split(name, mesh):
    """Right, at the price of gathering x for rows; batch norm's channels need nothing."""
    program = both(NORMS[name])
    results, text = compiled(program, placed(mesh, P(None, "rows"), arrays()))
    assert kernels_in(text).total() == 2
    assert set(collectives_in(text)) <= ({"all-gather"} if name != "batch" else set())
    assert_equal_to_one_device(results, program)


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
