"""`spectral_norm` and what it tells of its own error, against NumPy's SVD in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.functional import SpectralState, spectral_norm, spectral_state
from tests.functional.programs import quick_jit


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def with_values(values, rows, columns):
    """A matrix with these singular values, for random vectors."""
    values = np.asarray(values)
    left, right = (np.linalg.qr(normal(n, len(values), seed=n))[0] for n in (rows, columns))
    return ((left * values) @ right.T).astype(np.float32)


def true_values(matrix):
    return np.linalg.svd(np.asarray(matrix).astype(np.float64), compute_uv=False)


def unit(*entries):
    return jnp.asarray(np.asarray(entries) / np.linalg.norm(entries), jnp.float32)


start = quick_jit(spectral_state)
starts = {
    steps: quick_jit(lambda w, key, steps=steps: spectral_state(w, key=key, steps=steps))
    for steps in (2, 64)
}


@pytest.mark.parametrize(("rows", "columns"), [(30, 8), (8, 30)], ids=str)
def test_the_bounds_hold(rows, columns):
    """After any number of steps: one singular value within `distance`, none above `ceiling`.

    And `sigma` is not above the largest by more than rounding. Spectra: of a random matrix; that
    fall; of which all, or the first three, are (nearly) the same; one alone, and none.
    """
    spectra = {
        "falling": 2.0 ** -np.arange(8),
        "equal": np.ones(8),
        "clustered": [1, 1 - 1e-4, 1 - 2e-4, 0.5, 0.5],
        "rank one": [3.0],
        "wide": 10.0 ** -np.arange(8),
    }
    matrices = {name: with_values(values, rows, columns) for name, values in spectra.items()}
    matrices |= {"random": normal(rows, columns), "zero": np.zeros((rows, columns), np.float32)}
    for name, matrix in matrices.items():
        exact = true_values(matrix)
        for steps, program in starts.items():
            for seed in (0, 1):
                found = program(matrix, jax.random.key(seed))
                sigma, distance, ceiling = (np.float64(value) for value in found[2:])
                label = f"{name}, {steps} steps, seed {seed}"
                assert np.abs(exact - sigma).min() <= distance, label
                assert exact[0] <= ceiling, label
                assert sigma <= exact[0] * (1 + 4 * 2.0**-23), label
                if name in ("falling", "rank one", "wide") and steps == 64:
                    assert ceiling <= exact[0] * (1 + 1e-5), label  # as good as equal
                if name == "clustered" and steps == 64:
                    assert sigma >= exact[0] * (1 - 2.1e-4), label  # one of the three


def test_what_the_distance_cannot_tell():
    """Vectors of the second singular value have a distance of 0: only the ceiling warns.

    A part of the first as small as rounding grows by (5/3)² each step, and is found.
    """
    w = jnp.diag(jnp.asarray([5.0, 3.0, 1.0]))
    second = SpectralState(unit(0, 1, 0), unit(0, 1, 0), *jnp.zeros(3))
    _, state = spectral_norm(w, second)
    assert state.sigma == 3
    assert state.distance < 1e-5
    assert state.ceiling >= 5
    near = second._replace(outputs=unit(1e-6, 1, 0))
    _, state = spectral_norm(w, near, steps=40)
    np.testing.assert_allclose(state.sigma, 5, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 3, 4, 5), -1), ((5, 4, 3), 0), ((2, 3, 7), (0, -1))], ids=str
)
def test_kernels_of_every_layout(shape, axis):
    """The kernel over the largest singular value of the matrix inputs by outputs, at any scale."""
    kept = [place % len(shape) for place in np.atleast_1d(axis)]
    converge = quick_jit(
        lambda w: spectral_norm(w, spectral_state(w, axis=axis, steps=99), axis=axis)
    )
    for magnitude in (1, 1e30, 1e-30):
        w = normal(*shape) * np.float32(magnitude)
        last = np.moveaxis(w, kept, range(-len(kept), 0))
        exact = true_values(last.reshape(-1, np.prod([shape[place] for place in kept])))[0]
        found, state = converge(w)
        np.testing.assert_allclose(state.sigma / exact, 1, rtol=1e-6)
        np.testing.assert_allclose(found, w / exact, rtol=2e-6)


def test_half_types_and_evaluation():
    """Rounded once from float32, the state in float32; `steps=0` gives again what came last."""
    w = jnp.asarray(normal(6, 4), jnp.bfloat16)
    found, state = spectral_norm(w, spectral_state(w, steps=30))
    exact = np.asarray(w, np.float64) / true_values(w)[0]
    unit = 2.0 ** np.floor(np.log2(np.abs(exact))) * float(jnp.finfo(jnp.bfloat16).eps)
    assert found.dtype == jnp.bfloat16
    assert (np.abs(np.asarray(found, np.float64) - exact) / unit).max() < 0.51
    assert {leaf.dtype for leaf in state} == {jnp.dtype(jnp.float32)}
    again, kept = spectral_norm(w, state, steps=0)
    np.testing.assert_array_equal(again, found)
    for name in ("inputs", "outputs", "sigma", "ceiling"):
        np.testing.assert_allclose(getattr(kept, name), getattr(state, name), rtol=1e-6)


def test_evaluation_moves_nothing():
    """`steps=0` hands the vectors on to the bit, however far they are from those of the kernel.

    What comes with them is of this kernel: the length of what it makes of `inputs`, by which it is
    divided, and bounds that hold.
    """
    before, w = normal(20, 10), normal(20, 10, seed=1)
    state = spectral_state(before, steps=1)
    evaluate = quick_jit(lambda w, state: spectral_norm(w, state, steps=0))
    found, kept = evaluate(w, state)
    for name in ("inputs", "outputs"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(state, name))
    sigma = np.linalg.norm(w.T.astype(np.float64) @ np.asarray(state.inputs, np.float64))
    np.testing.assert_allclose(kept.sigma, sigma, rtol=1e-6)
    np.testing.assert_allclose(found, w / sigma, rtol=2e-6)
    exact = true_values(w)
    assert abs(exact - np.float64(kept.sigma)).min() <= kept.distance
    assert exact[0] <= kept.ceiling
    for first, second in zip((found, *kept), jax.tree.leaves(evaluate(w, kept)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_entries_near_the_largest_number():
    """The quotient is right though the largest singular value is no float32; `sigma` is infinity.

    Where it is one, `sigma` is right as well, up to the largest number.
    """
    converge = quick_jit(lambda w: spectral_norm(w, spectral_state(w, steps=99)))
    direction = normal(20, 10)
    unit = direction / np.float32(true_values(direction)[0])
    largest = np.float64(np.finfo(np.float32).max)
    for top in (0.5, 0.999, 1.001, 2.0):
        w = (unit.astype(np.float64) * (top * largest)).astype(np.float32)
        exact = true_values(w)[0]
        found, state = converge(w)
        np.testing.assert_allclose(found, w / exact, rtol=2e-6)
        if exact < largest:
            np.testing.assert_allclose(state.sigma / exact, 1, rtol=1e-6)
        else:
            assert np.isposinf(state.sigma)
            assert np.isposinf(state.ceiling)


def test_vectors_of_no_use_are_replaced():
    """Zeros, NaN, and vectors that the kernel maps to 0 don't stay: the next call finds its way.

    A kernel of zeros gives 0 with a gradient of 0, and the state after it works.
    """
    w = with_values([3.0], 5, 4)
    good = spectral_state(w)
    orthogonal = np.linalg.svd(w.astype(np.float64))[2][3].astype(np.float32)
    zero = jnp.zeros_like(jnp.asarray(w))
    _, after = spectral_norm(zero, good)
    assert after.sigma == 0
    states = [after, good._replace(outputs=orthogonal), jax.tree.map(jnp.zeros_like, good)]
    states += [spectral_norm(zero * jnp.nan, good)[1], spectral_state(zero)]
    for steps in (0, 1):
        program = quick_jit(lambda w, state, steps=steps: spectral_norm(w, state, steps=steps))
        for state in states:
            found, new = program(w, state)
            np.testing.assert_allclose(new.sigma, 3, rtol=1e-5)
            np.testing.assert_allclose(found, w / 3, atol=1e-5)
    gradient = quick_jit(jax.grad(lambda w: spectral_norm(w, good)[0].sum()))
    np.testing.assert_array_equal(gradient(zero), 0)
    np.testing.assert_array_equal(jax.jvp(gradient, (zero,), (zero + 1,))[1], 0)


def exact_gradient(w, cotangent):
    """That of the inner product of `cotangent` and w over its largest singular value."""
    matrix = w.reshape(-1, w.shape[-1])
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    along = np.outer(left[:, 0], right[0]).reshape(w.shape)
    return (cotangent - (cotangent * w).sum() / values[0] * along) / values[0]


@pytest.mark.usefixtures("x64")
def test_derivatives_of_two_orders():
    """In float64: the gradient in closed form; its derivative by central differences of that.

    Forward over reverse and reverse over reverse. The differences err by 1e-10 (h² and rounding).
    A tangent of which the squares underflow gives the same in proportion.
    """
    w, t, cotangent = (np.random.default_rng(seed).normal(size=(2, 3, 4)) for seed in range(3))
    state = spectral_state(w, steps=400)
    gradient = jax.grad(lambda w: (spectral_norm(w, state)[0] * cotangent).sum())
    np.testing.assert_allclose(quick_jit(gradient)(w), exact_gradient(w, cotangent), atol=1e-13)
    h = 1e-5
    ahead, behind = (exact_gradient(w + sign * h * t, cotangent) for sign in (1, -1))
    exact = (ahead - behind) / (2 * h)
    forward = quick_jit(lambda w, t: jax.jvp(gradient, (w,), (t,))[1])
    reverse = quick_jit(jax.grad(lambda w, t: (gradient(w) * t).sum()))
    for program in (forward, reverse):
        for unit in (1, 1e-170):
            np.testing.assert_allclose(program(w, unit * t) / unit, exact, atol=1e-8)


def test_stacked_layers():
    """Mapped over, each kernel has its own state and singular value."""
    w = normal(3, 6, 4)
    states = jax.vmap(lambda w: spectral_state(w, steps=60))(w)
    found, states = jax.vmap(spectral_norm)(w, states)
    exact = np.linalg.svd(w.astype(np.float64), compute_uv=False)[:, 0]
    np.testing.assert_allclose(states.sigma, exact, rtol=1e-6)
    np.testing.assert_allclose(found, w / exact[:, None, None], rtol=2e-6)


def test_training_keeps_up():
    """With one step a call, `sigma` follows a kernel that moves a little from call to call."""
    w, change = normal(20, 10), normal(20, 10, seed=1) / 100
    step = jax.jit(spectral_norm)
    state = start(w)
    for _ in range(50):
        w = w + change
        _, state = step(w, state)
    exact = true_values(w)[0]
    assert exact * (1 - 1e-2) < state.sigma <= exact * (1 + 1e-6)
