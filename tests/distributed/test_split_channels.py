"""Row norms of channels that eight devices share, `axis_name`: the numbers of the whole row.

In `shard_map` over meshes of 8 and of 4 x 2 devices, with and without the checks of what varies,
in `vmap`, and in a `vmap` inside a `shard_map`. The oracle is NumPy in float64 on whole rows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.distributed.collectives import Collective, collectives_in
from inox import functional
from inox.nn import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from tests import oracle
from tests.distributed.split_channels import (
    CHANNELS,
    DEVICES,
    NORMS,
    ROWS,
    WAYS,
    Way,
    mask,
    mesh_of,
    split,
)
from tests.functional.closeness import assert_all_close, assert_close
from tests.functional.programs import check_gradients, quick_jit

FLOAT32 = 4
COUNTS = (6, 3, 0, 1, 6, 0, 2, 5)
EPS = float(np.finfo(np.float32).eps)
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])


def drawn(name: str, dtype=np.float32, mean: float = 1.5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    # The devices' means differ by several deviations.
    offset = np.repeat(rng.normal(0, 5, DEVICES), CHANNELS // DEVICES)
    arrays = {
        "x": (rng.normal(mean, 2, (ROWS, CHANNELS)) + offset).astype(dtype),
        "scale": rng.uniform(0.5, 1.5, CHANNELS).astype(np.float32),
        "bias": rng.normal(size=CHANNELS).astype(np.float32),
        "epsilon": np.float32(0.125),
    }
    return {key: arrays[key] for key in ("x", "epsilon", *NORMS[name].parameters)}


@functools.cache
def program(name: str, way: Way, masked: bool):
    """The compiled (arrays, where, dy) -> (y, gradients)."""
    norm = split(NORMS[name], way, masked)

    @quick_jit
    def run(arrays, where, dy):
        y, pullback = jax.vjp(lambda arrays: norm(arrays, where), arrays)
        return y, pullback(dy)[0]

    return run


# Each norm in one way, and one of each kind in every way.
CELLS = [
    *((WAYS[0], name) for name in NORMS),
    *((way, name) for way in WAYS[1:] for name in ("layer", "rms", "group 3")),
]
EACH_CELL = pytest.mark.parametrize(("way", "name"), CELLS, ids=lambda cell: str(cell))


@EACH_CELL
@MASKED
def test_output_and_gradients_are_those_of_whole_rows(way, name, masked):
    """y, and the gradients of x, scale, bias and epsilon, in float32 and (one way) bfloat16.

    A mask leaves the devices unequal numbers of channels, two of them none, and one row none at
    all; what stands there is NaN.
    """
    where = mask(COUNTS)
    for dtype in (np.float32, jnp.bfloat16) if way == WAYS[0] else (np.float32,):
        arrays = drawn(name, dtype)
        if masked:
            arrays["x"] = np.where(where, arrays["x"], np.asarray(np.nan, dtype))
        dy = np.random.default_rng(1).normal(size=(ROWS, CHANNELS)).astype(dtype)
        y, gradients = program(name, way, masked)(arrays, where, dy)
        reference = NORMS[name].reference(dy.shape)
        mask_ = where if masked else None
        exact = reference.evaluate(oracle.as_float64(arrays), mask_)
        assert y.dtype == gradients["x"].dtype == dtype
        assert_close(y, exact["y"], "y", statistics=np.float32)
        check_gradients(reference, gradients, arrays, {"y": dy}, mask_)
        if masked:
            for left_out in (y, gradients["x"]):
                np.testing.assert_array_equal(np.asarray(left_out)[~where], 0)


@pytest.mark.parametrize("way", WAYS[:2], ids=str)
@pytest.mark.parametrize("name", ["layer", "group 3"])
@pytest.mark.parametrize("apart", [0.0, 1e6])
def test_large_means(name, way, apart):
    """Mean/std 1e6 on every device, their means alike or far apart: as exact as one device.

    The error of y in units of 2^-24 of its largest number is at most that of the one device's, and
    two more: for the weights and the sum over the parts.
    """
    rng = np.random.default_rng(2)
    centre = 1e6 + apart * np.repeat(np.arange(DEVICES), CHANNELS // DEVICES)
    arrays = drawn(name) | {
        "x": (centre + rng.normal(size=(ROWS, CHANNELS))).astype(np.float32),
        "epsilon": np.float32(1e-5),
    }
    norm = NORMS[name]
    parameters = {key: arrays[key] for key in norm.parameters}
    exact = norm.reference((ROWS, CHANNELS)).evaluate(oracle.as_float64(arrays))["y"]
    alone = norm.function(arrays["x"], epsilon=np.float32(1e-5), **parameters)
    y, _ = program(name, way, False)(arrays, mask((6,) * DEVICES), np.ones_like(arrays["x"]))
    largest = np.abs(exact).max() * EPS / 2
    error, of_one = (np.abs(np.float64(found) - exact).max() / largest for found in (y, alone))
    assert error <= of_one + 2


@pytest.mark.parametrize("name", ["layer", "rms", "group 3"])
@pytest.mark.parametrize("size", [1e-16, 1e16])
def test_gradients_of_very_large_and_very_small_numbers(name, size):
    """Spreads of 1e16 and 1e-16, with epsilon 0: no square leaves the range of numbers."""
    arrays = drawn(name) | {"epsilon": np.float32(0)}
    arrays["x"] = (arrays["x"] * size).astype(np.float32)
    dy = np.random.default_rng(1).normal(size=(ROWS, CHANNELS)).astype(np.float32)
    y, gradients = program(name, Way("shard_map"), False)(arrays, mask((6,) * DEVICES), dy)
    reference = NORMS[name].reference(dy.shape)
    assert_close(y, reference.evaluate(oracle.as_float64(arrays))["y"], "y")
    del gradients["epsilon"]  # with a spread of 1e-16 it is beyond float32
    wide = oracle.as_float64(arrays), oracle.as_float64({"y": dy})
    exact, sizes = reference.pullback(*wide), reference.sizes(*wide)
    assert_all_close(gradients, exact, "gradient", sizes=sizes)


@pytest.mark.parametrize("way", [WAYS[0], WAYS[3]], ids=str)
@pytest.mark.parametrize("name", ["layer", "rms", "group 3"])
@MASKED
def test_second_derivatives(name, way, masked):
    """The derivative of the gradient along a direction, by a complex step in float64."""
    arrays, where = drawn(name), mask(COUNTS)
    rng = np.random.default_rng(5)
    dy = rng.normal(size=(ROWS, CHANNELS)).astype(np.float32)
    tangents = {n: np.asarray(rng.normal(size=a.shape), a.dtype) for n, a in arrays.items()}
    if masked:
        arrays["x"] = np.where(where, arrays["x"], np.float32(np.nan))
    norm = split(NORMS[name], way, masked)

    @quick_jit
    def run(arrays, tangents):
        gradient = jax.grad(lambda arrays: (norm(arrays, where) * dy).sum())
        return jax.jvp(gradient, (arrays,), (tangents,))[1]

    reference, mask_ = NORMS[name].reference(dy.shape), where if masked else None
    exact = oracle.directional(
        lambda moved: reference.pullback(moved, {"y": dy.astype(np.float64)}, mask_),
        oracle.as_float64(arrays),
        oracle.as_float64(tangents),
    )
    # Terms cancel in each sum: the same bound, relative to the largest sum.
    found = run(arrays, tangents)
    for key, value in found.items():
        size = np.asarray(max(np.abs(exact[key]).max(), np.abs(exact["x"]).max()))
        assert_close(value, exact[key], key, factor=64, size=size)


def collectives(name: str, masked: bool, backward: bool) -> list[Collective]:
    norm, arrays = split(NORMS[name], Way("shard_map"), masked), drawn(name)
    epsilon = arrays.pop("epsilon")

    def forward(arrays, where):
        return norm(arrays | {"epsilon": epsilon}, where)

    def both(arrays, where):
        y, pullback = jax.vjp(lambda arrays: forward(arrays, where), arrays)
        return y, pullback(arrays["x"])

    run = jax.jit(both if backward else forward)
    return collectives_in(run.lower(arrays, mask(COUNTS)).compile().as_text())


@MASKED
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "both"])
def test_layer_norm_sends_four_numbers_a_row_forward_and_two_backward(masked, backward):
    """Mean in two halves, variance and its scale, and the count under a mask; two gradients."""
    forward = Collective("all-gather", FLOAT32 * (5 if masked else 4) * ROWS * DEVICES)
    back = Collective("all-reduce", FLOAT32 * 2 * ROWS)
    assert collectives("layer", masked, backward) == [forward, back][: 1 + backward]


@MASKED
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "both"])
def test_rms_norm_sends_one_sum_forward_and_one_backward(masked, backward):
    """The mean square in two scalings, and the count under a mask; one gradient."""
    forward = Collective("all-reduce", FLOAT32 * (3 if masked else 2) * ROWS)
    back = Collective("all-reduce", FLOAT32 * ROWS)
    assert collectives("rms", masked, backward) == [forward, back][: 1 + backward]


def test_group_norm_sends_what_groups_that_span_devices_need():
    """Nothing for groups that lie on one device; else the moments of the blocks of a device."""
    assert collectives("group 8", False, True) == collectives("group 16", False, True) == []
    for name, blocks, groups in (("group 2", 1, 2), ("group 3", 3, 3), ("group 12", 3, 12)):
        assert collectives(name, False, True) == [
            Collective("all-gather", FLOAT32 * 4 * ROWS * DEVICES * blocks),
            Collective("all-reduce", FLOAT32 * 2 * ROWS * groups),
        ]


def test_layers_are_their_functions():
    """LayerNorm, RMSNorm, GroupNorm and InstanceNorm hand their axis_name on."""
    rng = np.random.default_rng(3)
    x = rng.normal(3, 2, (2, DEVICES * 3, 4)).astype(np.float32)
    cases = (
        (LayerNorm(axis=-2, axis_name="parts"), functional.layer_norm(x, axis=-2)),
        (InstanceNorm(axis_name=["parts"]), functional.layer_norm(x, axis=-2)),
        (RMSNorm(axis=(-2, -1), axis_name="parts"), functional.rms_norm(x, axis=(-2, -1))),
    )
    mesh = mesh_of((DEVICES,), ("parts",))
    spec = jax.sharding.PartitionSpec(None, "parts")
    for layer, exact in cases:
        y = jax.shard_map(layer, mesh=mesh, in_specs=spec, out_specs=spec)(x)
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-6)
    layer = GroupNorm(4, axis=(-2, -1), axis_name="parts")
    split_x = np.moveaxis(x, 1, 2)
    spec = jax.sharding.PartitionSpec(None, None, "parts")
    y = jax.shard_map(layer, mesh=mesh, in_specs=spec, out_specs=spec)(split_x)
    exact = functional.group_norm(split_x, 4, axis=(-2, -1))
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-6)


def test_the_rounding_of_rms_norm_is_that_of_one_device():
    """normalized_dtype: rounded before it is scaled, and derivatives that take that for nothing."""
    arrays = drawn("rms", jnp.bfloat16)
    arrays["scale"] = arrays["scale"].astype(jnp.bfloat16)
    norm = functools.partial(functional.rms_norm, normalized_dtype=jnp.bfloat16)
    split_norm = split(NORMS["rms"]._replace(function=norm), Way("shard_map"), False)

    def both(function):
        y, pullback = jax.vjp(function, arrays)
        return y, pullback(arrays["x"])[0]

    y, gradients = jax.jit(lambda: both(lambda arrays: split_norm(arrays, mask((6,) * DEVICES))))()
    exact, expected = both(lambda a: norm(a["x"], a["scale"], epsilon=a["epsilon"]))
    np.testing.assert_array_equal(np.asarray(y), np.asarray(exact))
    for key, gradient in gradients.items():
        close = np.asarray(expected[key], np.float32)
        atol = 1e-6 * np.abs(close).max()
        np.testing.assert_allclose(np.asarray(gradient, np.float32), close, 2**-7, atol)


@pytest.mark.parametrize(
    "call",
    [
        functional.standardize,
        functional.layer_norm,
        functional.rms_norm,
        functools.partial(functional.group_norm, groups=2),
    ],
    ids=["standardize", "layer_norm", "rms_norm", "group_norm"],
)
def test_a_name_that_is_not_bound_is_refused(call):
    """The message lists the names that are."""
    x = np.ones((3, 2, 4), np.float32)
    with pytest.raises(ValueError, match=r"axis_name 'rows' is not bound; bound here: 'parts'"):
        jax.vmap(functools.partial(call, axis_name="rows"), axis_name="parts")(x)


def test_groups_are_those_of_all_channels():
    """8 devices of 6 channels have 48: 5 groups don't divide them, and the message says so."""
    x = np.ones((8, 3, 6), np.float32)
    norm = functools.partial(functional.group_norm, groups=5, axis_name="parts")
    with pytest.raises(ValueError, match=r"groups.*5.*48"):
        jax.vmap(norm, axis_name="parts")(x)
