"""First and second derivatives of every operation, in every order of forward and reverse mode.

Expected values are the oracle's: first derivatives in closed form, derivatives along a direction by
a complex step through the float64 value (first order) or the closed gradient (second order).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import oracle
from tests.functional.closeness import assert_all_close, assert_close
from tests.functional.programs import check_gradients, quick_jit
from tests.functional.setting import Setting
from tests.registry import OPERATIONS

# A second derivative of a normalization multiplies two more projections and reciprocal roots of
# variances near 4 than the value does: more roundings, and terms that cancel.
SECOND_ORDER = 128
EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
# Without jit every step compiles by itself: a row norm, batch norm and moments stand for all.
EAGER = pytest.mark.parametrize("operation", [OPERATIONS[i] for i in (0, 3, 6)], ids=str)
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


def second_order(setting):
    """Hessian-vector products in the three orders that compose reverse mode with another."""
    loss, arrays, tangents = setting.loss, setting.arrays, setting.tangents

    def along(moved):
        return jax.jvp(loss, (moved,), (tangents,))[1]

    def inner_product(moved):
        gradients = jax.grad(loss)(moved)
        return sum((gradients[name] * tangents[name]).sum() for name in gradients)

    return {
        "forward over reverse": jax.jvp(jax.grad(loss), (arrays,), (tangents,))[1],
        "reverse over reverse": jax.grad(inner_product)(arrays),
        "reverse over forward": jax.grad(along)(arrays),
    }


def check_forward_mode(setting, jit):
    """`jax.jvp` and `jax.linearize`, along all arrays at once."""

    @jit
    def both(arrays, tangents):
        values, along = jax.jvp(setting.call, (arrays,), (tangents,))
        return values, along, jax.linearize(setting.call, arrays)[1](tangents)

    exact = setting.slope()
    values, along, linearized = both(setting.arrays, setting.tangents)
    assert_all_close(values, setting.exact)
    # Terms of the slope cancel down to a tenth of their size.
    assert_all_close(along, exact, factor=64)
    assert_all_close(linearized, exact, factor=64)


@EACH
@MASKED
def test_forward_mode(operation, masked):
    """Compiled as users compile it."""
    check_forward_mode(Setting(operation, masked), jax.jit)


@EAGER
def test_forward_mode_eager(operation):
    """The same without jit."""
    check_forward_mode(Setting(operation), lambda function: function)


@EACH
def test_forward_mode_along_each_array_alone(operation):
    """A tangent that is zero skips its part of the work and nothing else."""
    setting = Setting(operation, masked=True)

    @quick_jit
    def slopes(arrays, tangents):
        def along(name):
            def of_one(value):
                return setting.call(arrays | {name: value})

            return jax.jvp(of_one, (arrays[name],), (tangents[name],))[1]

        return {name: along(name) for name in arrays}

    slopes = slopes(setting.arrays, setting.tangents)
    for name in setting.arrays:
        exact = oracle.directional(
            lambda moved: setting.reference.evaluate(moved, setting.where),
            setting.wide(setting.arrays),
            {name: setting.tangents[name].astype(np.float64)},
        )
        assert_all_close(slopes[name], exact, f"along {name}:", factor=64)


@EAGER
@MASKED
def test_reverse_mode_eager(operation, masked):
    """`jax.vjp` and `jax.grad` without jit; jitted ones are in the grid of values."""
    setting = Setting(operation, masked)
    values, pullback = jax.vjp(setting.call, setting.arrays)
    assert_all_close(values, setting.exact)
    gradients = pullback({name: jnp.asarray(c) for name, c in setting.cotangents.items()})[0]
    check_gradients(setting.reference, gradients, setting.arrays, setting.cotangents, setting.where)
    check_gradients(
        setting.reference,
        jax.grad(setting.loss)(setting.arrays),
        setting.arrays,
        setting.cotangents,
        setting.where,
    )


@EACH
def test_reverse_mode_with_respect_to_each_array_alone(operation):
    """The gradient of one array is the same whether others are wanted or not."""
    setting = Setting(operation)

    @quick_jit
    def gradients(arrays):
        return {
            name: jax.grad(lambda value, name=name: setting.loss(arrays | {name: value}))(array)
            for name, array in arrays.items()
        }

    check_gradients(
        setting.reference, gradients(setting.arrays), setting.arrays, setting.cotangents
    )


@EACH
@MASKED
def test_second_order(operation, masked):
    """Hessian-vector products in every order of modes, jitted, against the float64 oracle."""
    setting = Setting(operation, masked)
    exact = setting.hessian_vector_product()
    products = quick_jit(lambda: second_order(setting))()
    for order, product in products.items():
        for name in product:
            assert_close(product[name], exact[name], f"{order}, {name}", SECOND_ORDER)


def test_second_order_eager():
    """The same without jit, on layer norm."""
    setting = Setting(OPERATIONS[0])
    exact = setting.hessian_vector_product()
    for order, product in second_order(setting).items():
        for name in product:
            assert_close(product[name], exact[name], f"{order}, {name}", SECOND_ORDER)


@EAGER
def test_full_hessian_in_x(operation):
    """`jax.hessian` is symmetric, and forward over reverse agrees with reverse over forward."""
    setting = Setting(operation)

    def of_x(x):
        return setting.loss(setting.arrays | {"x": x})

    x = setting.arrays["x"]
    one, other = quick_jit(
        lambda x: (jax.jacfwd(jax.jacrev(of_x))(x), jax.jacrev(jax.jacfwd(of_x))(x))
    )(x)
    square = np.asarray(one, np.float64).reshape(x.size, x.size)
    columns = []
    for index in range(x.size):
        direction = np.zeros(x.size)
        direction[index] = 1
        columns.append(
            oracle.directional(
                lambda moved: setting.reference.pullback(moved, setting.wide(setting.cotangents)),
                setting.wide(setting.arrays),
                {"x": direction.reshape(x.shape)},
            )["x"].ravel()
        )
    exact = np.stack(columns, -1)
    assert_close(one, exact.reshape(one.shape), "forward over reverse", SECOND_ORDER)
    assert_close(other, exact.reshape(one.shape), "reverse over forward", SECOND_ORDER)
    np.testing.assert_allclose(square, square.T, atol=1e-5 * np.abs(exact).max())


@pytest.mark.usefixtures("x64")
@EACH
def test_third_order_in_float64(operation):
    """Three nested forward modes against a central difference of the oracle's second derivative."""
    setting = Setting(operation, dtype=np.float64)
    tangents = {name: 0.1 * tangent for name, tangent in setting.tangents.items()}

    def derivative(function):
        return lambda arrays: jax.jvp(function, (arrays,), (tangents,))[1]

    third = quick_jit(derivative(derivative(derivative(setting.loss))))(setting.arrays)

    def second(step):
        arrays = {name: a + step * tangents[name] for name, a in setting.arrays.items()}
        product = oracle.directional(
            lambda moved: setting.reference.pullback(moved, setting.cotangents), arrays, tangents
        )
        return sum((product[name] * tangents[name]).sum() for name in arrays)

    # The error of a central difference is step**2 / 6 times a fifth derivative of order 1e-2 or
    # less, and 1e-16 / step of rounding.
    step = 1e-4
    difference = (second(step) - second(-step)) / (2 * step)
    np.testing.assert_allclose(third, difference, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("x64")
def test_finite_differences_of_the_library_itself():
    """`jax.test_util.check_grads` of layer norm, first and second order: no oracle involved."""
    from jax.test_util import check_grads

    setting = Setting(OPERATIONS[0], dtype=np.float64)
    check_grads(jax.jit(setting.call), (setting.arrays,), order=2, atol=1e-6, rtol=1e-6)
