"""What follows from the record of an operation: derivatives, `vmap`, sums over devices, on TPU.

The kernels for TPU take the place of the CPU's, interpreted.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from inox import functional
from tests import oracle
from tests.functional.closeness import assert_all_close
from tests.functional.programs import quick_jit
from tests.kernels.kernel_cases import NORMS, arrays, both
from tests.kernels.tpu_kernels import exact, gradients, normalize, on_the_cpu
from tests.registry import OPERATIONS

# The layouts of the registry whose slices are the last axes: the others run on formulas.
TRAILING = [
    (operation, layout)
    for operation in OPERATIONS
    if operation.name in ("layer_norm", "rms_norm")
    for layout in operation.layouts
    if layout.shape == (3, 300)
    or (operation.name == "layer_norm" and (layout.shape == (7,) or layout.parameter == ()))
]


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """They are what the CPU runs in this file."""
    with on_the_cpu():
        yield


@pytest.mark.parametrize(("operation", "layout"), TRAILING, ids=str)
def test_the_registry_agrees_with_the_oracle(operation, layout):
    """Values, and gradients in x, scale and bias, in float32."""
    drawn = operation.draw(layout, np.float32)
    reference = operation.reference(layout)
    values = reference.evaluate(oracle.as_float64(drawn))
    cotangents = operation.cotangents(values, {"y": np.float32})
    epsilon = {"epsilon": drawn.pop("epsilon")}

    @quick_jit
    def program(arrays):
        def run(arrays):
            given = arrays | epsilon
            return operation.call(given, None, implementation="tpu", **layout.static)

        y, pull = jax.vjp(run, arrays)
        return y, pull(cotangents)[0]

    y, found = program(drawn)
    assert_all_close(y, values, "values")
    wide = oracle.as_float64(drawn | epsilon), oracle.as_float64(cotangents), None
    wanted, sizes = reference.pullback(*wide), reference.sizes(*wide)
    assert_all_close(
        found,
        {name: wanted[name] for name in found},
        "gradient",
        sizes={name: sizes[name] for name in found},
        statistics=np.float32,
    )


def test_a_row_is_the_same_bits_in_any_batch(rng):
    """y and dx of a row don't depend on how many rows there are, nor on where it stands.

    The CPU's compiler may contract a product and a sum in one program and not in the other; without
    its optimizations it doesn't, and what is compared is the order of the operations.
    """
    x, dy = (1e2 + rng.standard_normal((2, 75, 200))).astype(np.float32)
    scale = rng.uniform(0.5, 2, 200).astype(np.float32)
    forward = quick_jit(lambda x: normalize(x, scale))
    backward = quick_jit(lambda dy, x: gradients(dy, x, scale)[0])
    y, dx = forward(x), backward(dy, x)
    part = slice(3, 40)
    np.testing.assert_array_equal(forward(x[part]), y[part])
    np.testing.assert_array_equal(backward(dy[part], x[part]), dx[part])


def test_equal_numbers_give_the_bias(rng):
    """Their deviation is exactly 0, also with epsilon 0: y is the bias, dx and dscale are 0."""
    x = np.repeat(10 ** rng.uniform(-18, 18, (32, 1)), 100, 1).astype(np.float32)
    dy, scale, bias = rng.standard_normal((3, 1, 100)).astype(np.float32)
    y = quick_jit(lambda x: normalize(x, scale[0], bias[0], epsilon=0.0))(x)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, x.shape))
    dx, dscale, _ = quick_jit(lambda x: gradients(dy + 0 * x, x, scale[0], epsilon=0.0))(x)
    assert (np.asarray(dx) == 0).all()
    assert (np.asarray(dscale) == 0).all()


def test_what_is_not_finite_stays_in_its_row(rng):
    """NaN or infinity in one row leaves y and dx of all others as they are."""
    x, dy = rng.standard_normal((2, 40, 100)).astype(np.float32)
    run = quick_jit(lambda x: (normalize(x), gradients(dy, x)[0]))
    spoiled = x.copy()
    spoiled[3, 5], spoiled[8, 99], spoiled[30, 0] = np.nan, np.inf, 1e30
    others = np.delete(np.arange(40), [3, 8, 30])
    for found, clean in zip(run(spoiled), run(x), strict=True):
        np.testing.assert_array_equal(np.asarray(found)[others], np.asarray(clean)[others])
        assert np.isnan(np.asarray(found)[[3, 8, 30]]).all()


@pytest.mark.parametrize("mapped", [(0, 0, None, None), (None, 0, 0, 0), (0, None, None, 0)])
def test_vmap_is_a_loop(mapped):
    """Over x, or scale, or bias, or dy alone: kernels where there is one, else formulas."""
    operands = [
        np.stack(pair) if axis == 0 else pair[0]
        for axis, pair in zip(mapped, zip(arrays(8, 1), arrays(8, 2), strict=True), strict=True)
    ]
    together = quick_jit(jax.vmap(both(NORMS["layer"], "tpu"), mapped))(*operands)
    for i in range(2):
        x, dy, scale, bias = (a[i] if m == 0 else a for a, m in zip(operands, mapped, strict=True))
        y, (dx, dscale, dbias) = jax.tree.map(lambda one, i=i: one[i], together)
        for found, wanted in zip((y, dx, dscale, dbias), exact(x, dy, scale, bias), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_second_derivatives(rng):
    """The product of the Hessian with a direction, against a difference quotient in float64."""
    x, dy, direction = rng.standard_normal((3, 6, 36))
    scale = rng.uniform(0.5, 2, 36)

    def gradient(x):
        f32 = [a.astype(np.float32) for a in (dy, scale)]
        return jax.grad(
            lambda x: jnp.vdot(functional.layer_norm(x, f32[1], implementation="tpu"), f32[0])
        )(x)

    product = quick_jit(lambda x, v: jax.jvp(gradient, (x,), (v,))[1])
    twice = quick_jit(jax.grad(lambda x, v: jnp.vdot(gradient(x), v)))
    step = 1e-5
    sides = [exact(x + side * step * direction, dy, scale, 0)[1] for side in (1, -1)]
    wanted = (sides[0] - sides[1]) / (2 * step)
    for program in (product, twice):
        found = program(x.astype(np.float32), direction.astype(np.float32))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("checked", [True, False])
def test_rows_on_several_devices_in_a_shard_map(checked):
    """Each runs the kernel on its rows; the gradients of scale and bias are sums over all."""
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(AxisType.Auto,))
    split, shared = PartitionSpec("rows"), PartitionSpec()

    def of_part(x, dy, scale, bias):
        y, pull = jax.vjp(
            functools.partial(functional.layer_norm, implementation="tpu"), x, scale, bias
        )
        dx, *rest = pull(dy)
        return y, dx, *(rest if checked else [jax.lax.psum(one, "rows") for one in rest])

    program = jax.shard_map(
        of_part,
        mesh=mesh,
        in_specs=(split, split, shared, shared),
        out_specs=(split, split, shared, shared),
        check_vma=checked,
    )
    operands = arrays(32)
    for found, wanted in zip(quick_jit(program)(*operands), exact(*operands), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("scaled", "biased"), [(True, False), (False, True), (False, False)])
def test_parameters_may_be_left_out(scaled, biased, rng):
    """Each choice of scale and bias, of RMS norm."""
    x, _, scale, bias = arrays(5)
    given = scale if scaled else None, bias if biased else None
    found = quick_jit(lambda x: normalize(x, *given, centred=False))(x)
    wanted = exact(x, x, scale if scaled else 1, bias if biased else 0, centred=False)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
