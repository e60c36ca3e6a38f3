"""The bounds hold for what XLA for TPU is given where there is no kernel, carried out here."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import inox.functional
import inox.kernels.tpu.programs
from inox.kernels.expansion import expand
from tests.accuracy.cases import CASES
from tests.accuracy.layouts import LAYOUTS, LONG, batch, layer
from tests.accuracy.test_grid import LONG_CASES, failures

PLATFORM = "tpu programs"
# An array of each kind that is sampled in a way of its own: columns; columns of whole images;
# groups of channels; everything; rows, which are not sampled.
SAMPLED = ("layer, middle axis", "batch, images", "group, over the image")
SAMPLED += ("layer, everything, scale per sample", "layer, rows")


@pytest.fixture(autouse=True)
def small_arrays_count_as_large(monkeypatch):
    """Or none of the arrays here would be looked at by one pass."""
    monkeypatch.setattr(inox.kernels.tpu.programs, "LARGE", 0)


@pytest.mark.parametrize("name", SAMPLED)
def test_programs_of_tpus_are_within_the_bounds(name, rng):
    """Output, gradients, mean and variance on all the kinds of data that fit the dtype."""
    cases = [case for case in CASES if "float32" in case.dtypes]
    assert failures(LAYOUTS[name], cases, "float32", rng, PLATFORM) == []


def test_programs_of_tpus_in_a_half_type(rng):
    cases = [case for case in CASES if "bfloat16" in case.dtypes]
    assert failures(LAYOUTS["group, over the image"], cases, "bfloat16", rng, PLATFORM) == []


@pytest.mark.parametrize("name", ["batch, thousands of samples", "group, a slice of a million"])
def test_long_slices_by_one_pass_are_within_the_bounds(name, rng):
    """A pilot mean, of which the first elements are no fair sample, costs no accuracy."""
    cases = [case for case in CASES if case.name in LONG_CASES]
    assert failures(LONG[name], cases, "float32", rng, PLATFORM) == []


@pytest.mark.parametrize(
    "layout",
    [
        batch("many images", (130, 3, 3, 12)),
        layer("many images", (128, 8, 9, 12), (-3, -2)),
        layer("many images", (128, 2, 3, 72), (-1,)),
        layer("long images", (3, 128, 2, 72), (-1,)),
        layer("a table", (128, 72), (-1,)),
    ],
    ids=["batch", "instance", "rows", "rows of long images", "rows of a table"],
)
def test_many_images_are_looked_at_again_in_another_order_of_axes(layout, rng):
    """Statistics and gradients come back in the order they are used in."""
    cases = [case for case in CASES if case.name in LONG_CASES]
    assert failures(layout, cases, "float32", rng, PLATFORM) == []


def test_rows_whose_squares_overflow_are_looked_at_again(rng):
    """Far from 0 the first look finds no variance; the second is about the mean."""
    x = (1e20 + 1e14 * rng.normal(size=(9, 100))).astype(np.float32)
    program = expand(lambda x: inox.functional.layer_norm(x, epsilon=0.0), platform="tpu")
    exact = x.astype(np.float64) - x.astype(np.float64).mean(-1, keepdims=True)
    exact /= np.sqrt((exact**2).mean(-1, keepdims=True))
    np.testing.assert_allclose(jax.jit(program)(x), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("checked", [True, False])
def test_rows_over_devices_in_a_shard_map(checked, rng):
    """Each device chooses for its own rows, whether or not JAX keeps count of what varies."""
    x, dy = rng.normal(size=(2, 8, 3, 72)).astype(np.float32)
    x[5] += 1e3
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("rows")

    def both(x, dy):
        y, pull = jax.vjp(expand(inox.functional.layer_norm, platform="tpu"), x)
        return y, *pull(dy)

    mapped = jax.shard_map(
        both, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=checked
    )
    for found, expected in zip(jax.jit(mapped)(x, dy), jax.jit(both)(x, dy), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SAMPLED)
def test_these_are_the_programs_with_a_pilot(name):
    """They choose while they run whether to look again, which the reference never does."""
    layout = LAYOUTS[name]
    x = jax.ShapeDtypeStruct(layout.slices.shape, "float32")
    parameter = jax.ShapeDtypeStruct(layout.parameter_shape, "float32")
    epsilon = jax.ShapeDtypeStruct((), "float32")
    of_tpu = expand(layout.program("xla"), platform="tpu")
    plain = expand(layout.program("xla"))
    text, reference = (
        str(jax.make_jaxpr(program)(x, x, parameter, parameter, epsilon))
        for program in (of_tpu, plain)
    )
    assert "cond" in text
    assert "cond" not in reference
