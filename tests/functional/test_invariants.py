"""What must hold for any input, over examples drawn by hypothesis.

Shapes are fixed, so that a property compiles once and hypothesis varies the numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inox import functional
from tests import oracle
from tests.functional.closeness import assert_close

N, C = 4, 6
# Integers of moderate size: shifts by integers and scales by powers of two are exact, so that the
# two inputs of a comparison differ by what the property says and by no rounding.
integers = st.integers(-(2**10), 2**10)
tables = hnp.arrays(np.int32, (N, C), elements=integers).map(lambda a: a.astype(np.float32))
seeds = st.integers(0, 2**31)

NORMS = {
    "layer_norm": jax.jit(lambda x, e: functional.layer_norm(x, epsilon=e)),
    "columns": jax.jit(lambda x, e: functional.layer_norm(x, axis=0, epsilon=e)),
    "group_norm": jax.jit(lambda x, e: functional.group_norm(x, 3, epsilon=e)),
    "batch_norm": jax.jit(lambda x, e: functional.batch_norm(x, epsilon=e)[0]),
    "rms_norm": jax.jit(lambda x, e: functional.rms_norm(x, epsilon=e)),
}
CENTRED = [name for name in NORMS if name != "rms_norm"]


def compare(actual, expected):
    """Each is within 5 ulp of one exact value, and none is above sqrt(n - 1) < 4."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=10 * np.finfo(np.float32).eps * 4)


@settings(max_examples=30)
@given(x=tables, shift=st.integers(-(2**12), 2**12))
def test_shift_invariance(x, shift):
    """Adding a constant to x, exactly, leaves y as it was (the mean takes it up)."""
    for name in CENTRED:
        compare(NORMS[name](x + np.float32(shift), 1e-5), NORMS[name](x, 1e-5))


@settings(max_examples=30)
@given(x=tables, exponent=st.integers(-12, 12), negate=st.booleans())
def test_scale_invariance(x, exponent, negate):
    """With c x and c**2 epsilon (c a power of two: exact) y is the same but for the sign of c."""
    factor = np.float32(2.0**exponent)
    sign = np.float32(-1 if negate else 1)
    for norm in NORMS.values():
        scaled = norm(sign * factor * x, np.float32(0.5) * factor**2)
        compare(scaled, sign * np.asarray(norm(x, np.float32(0.5))))


@settings(max_examples=20)
@given(x=tables, rows=st.permutations(range(N)), columns=st.permutations(range(C)))
def test_permutations(x, rows, columns):
    """Permuted rows give permuted results; permuted elements of a slice permute its results."""
    for name in ("layer_norm", "rms_norm", "columns", "batch_norm"):
        y = np.asarray(NORMS[name](x, 1e-5))
        compare(NORMS[name](x[rows], 1e-5), y[rows])
        compare(NORMS[name](x[:, columns], 1e-5), y[:, columns])
    # Groups hold neighbours: within a group, and whole groups, may change places.
    y = np.asarray(NORMS["group_norm"](x, 1e-5))
    for order in ([1, 0, 3, 2, 5, 4], [4, 5, 0, 1, 2, 3]):
        compare(NORMS["group_norm"](x[:, order], 1e-5), y[:, order])


@settings(max_examples=20)
@given(x=tables)
def test_results_have_mean_0_and_variance_below_1(x):
    """The mean of y is 0 and its variance v / (v + epsilon), for slices that aren't constant."""
    v = x.astype(np.float64).var(-1)
    y = np.asarray(NORMS["layer_norm"](x, np.float32(0.5)), np.float64)
    np.testing.assert_allclose(y.mean(-1), 0, atol=4e-6)
    np.testing.assert_allclose(y.var(-1), v / (v + 0.5), rtol=1e-5)


@jax.jit
def constant_rows(x, bias, dy):
    """y, and gradients of x, scale, bias and epsilon, of every norm."""
    scale = jnp.full(bias.shape, 0.75, bias.dtype)

    def norms(x, scale, bias, epsilon):
        return {
            "layer_norm": functional.layer_norm(x, scale, bias, epsilon=epsilon),
            "group_norm": functional.group_norm(x, 2, scale, bias, epsilon=epsilon),
            "batch_norm": functional.batch_norm(x, scale, bias, epsilon=epsilon)[0],
        }

    epsilon = jnp.float32(1e-5)
    y, pullback = jax.vjp(norms, x, scale, bias, epsilon)
    return y, pullback(dict.fromkeys(y, dy))


@pytest.mark.parametrize(
    "dtype", [jnp.float16, jnp.bfloat16, jnp.float32], ids=lambda dtype: dtype.__name__
)
def test_constant_slices_give_exactly_the_bias(dtype):
    """Zero variance: y is the bias bit for bit and gradients are finite, for any constant."""

    @settings(max_examples=40)
    @given(
        constant=st.floats(-60000, 60000, width=16),
        bias=hnp.arrays(np.float32, (C,), elements=st.floats(-4, 4, width=16)),
        seed=seeds,
    )
    def check(constant, bias, seed):
        x = np.full((N, C), constant).astype(dtype)
        dy = np.random.default_rng(seed).normal(size=(N, C)).astype(dtype)
        y, gradients = constant_rows(x, bias, dy)
        for name, value in y.items():
            expected = np.broadcast_to(bias.astype(dtype), (N, C))
            np.testing.assert_array_equal(np.asarray(value), expected, name)
        for gradient in gradients:
            assert np.isfinite(np.asarray(gradient, np.float32)).all()

    check()


def test_constant_slices_have_the_gradient_of_the_formula():
    """There dx = scale (dy - mean of dy) / sqrt(epsilon), which float32 holds."""
    x = np.full((N, C), 3.0, np.float32)
    dy = np.random.default_rng(0).normal(size=(N, C)).astype(np.float32)
    gradient = jax.grad(lambda x: (functional.layer_norm(x) * dy).sum())(x)
    exact = (dy - dy.mean(-1, keepdims=True, dtype=np.float64)) / np.sqrt(1e-5)
    assert_close(gradient, exact)


# ---- moments

values = hnp.arrays(np.float32, (3, C), elements=st.floats(-100, 100, width=16))
counts = hnp.arrays(np.int32, (3, C), elements=st.integers(0, 50))


def parts_of(seed, counts, means, spreads):
    """Three moments, a column each a sample of its own size, and the samples."""
    generator = np.random.default_rng(seed)
    samples = [
        [m + abs(s) * generator.normal(size=n) for n, m, s in zip(*row, strict=True)]
        for row in zip(counts, means, spreads, strict=True)
    ]
    parts = []
    for row in samples:
        mean = np.array([v.mean() if v.size else 0.0 for v in row])
        var = np.array([v.var() if v.size else 0.0 for v in row])
        count = np.array([v.size for v in row])
        parts.append(functional.Moments(*(a.astype(np.float32) for a in (count, mean, var))))
    return parts, samples


def pooled(parts):
    """The float64 moments of what the float32 parts stand for."""
    count, mean, var = (np.stack([part[i] for part in parts]).astype(np.float64) for i in range(3))
    total = count.sum(0)
    safe = np.maximum(total, 1)
    center = (count * mean).sum(0) / safe
    spread = (count * (var + (mean - center) ** 2)).sum(0) / safe
    return functional.Moments(total, center, spread)


merge = jax.jit(functional.merge_moments)


def assert_moments(actual, exact, parts):
    """Counts exactly; means and variances to a few units of the terms that are added."""
    np.testing.assert_array_equal(actual.count, exact.count)
    means = np.max([np.abs(part.mean) for part in parts])
    terms = np.max([part.var + (part.mean - exact.mean) ** 2 for part in parts])
    assert_close(actual.mean, exact.mean, "mean", size=np.asarray(means))
    # The difference of two means carries their rounding, relative to the means themselves.
    slack = means * np.sqrt(terms)
    assert_close(actual.var, exact.var, "var", size=np.asarray(terms + slack))


@settings(max_examples=40)
@given(seed=seeds, counts=counts, means=values, spreads=values)
def test_merging_pools_exactly(seed, counts, means, spreads):
    """The merge of parts, empty or not, has count, mean and variance of all the elements."""
    parts, samples = parts_of(seed, counts, means, spreads)
    merged = merge(*parts)
    assert_moments(merged, pooled(parts), parts)
    for column in range(C):
        everything = np.concatenate([row[column] for row in samples])
        if everything.size:
            size = np.abs(everything).max() + 1
            np.testing.assert_allclose(merged.mean[column], everything.mean(), atol=1e-5 * size)
            np.testing.assert_allclose(merged.var[column], everything.var(), atol=1e-5 * size**2)
        else:
            assert merged.count[column] == merged.mean[column] == merged.var[column] == 0


@settings(max_examples=40)
@given(seed=seeds, counts=counts, means=values, spreads=values)
def test_merging_is_commutative_and_associative(seed, counts, means, spreads):
    """In any order and any grouping the same pool comes out."""
    parts, _ = parts_of(seed, counts, means, spreads)
    a, b, c = parts
    exact = pooled(parts)
    for merged in (merge(a, b, c), merge(c, a, b), merge(merge(a, b), c), merge(a, merge(b, c))):
        assert_moments(merged, exact, parts)


@settings(max_examples=20)
@given(seed=seeds, counts=counts, means=values, spreads=values)
def test_merging_with_nothing_changes_nothing(seed, counts, means, spreads):
    """Moments of count 0 are neutral, to the rounding of one product and one quotient."""
    parts, _ = parts_of(seed, counts, means, spreads)
    a = parts[0]
    nothing = functional.Moments(*(np.zeros(C, np.float32) for _ in range(3)))
    for merged in (merge(a), merge(nothing, a), merge(nothing, a, nothing)):
        np.testing.assert_array_equal(merged.count, a.count)
        np.testing.assert_allclose(merged.mean, a.mean, rtol=3e-7)
        # A mean that moved by its rounding adds the square of that.
        np.testing.assert_allclose(merged.var, a.var, rtol=5e-7, atol=1e-11)


@settings(max_examples=20)
@given(
    x=hnp.arrays(np.float32, (6, 3), elements=st.floats(-1000, 1000, width=16)),
    cut=st.integers(0, 6),
)
def test_merged_moments_of_parts_are_those_of_the_whole(x, cut):
    """However the rows are split, an empty side included."""
    where = np.arange(6)[:, None] < cut
    merged = split(x, where)
    exact = oracle.Normalization(oracle.slices(x.shape, 0)).evaluate({"x": x.astype(np.float64)})
    np.testing.assert_array_equal(merged.count, exact["count"])
    largest = np.abs(x).max(initial=0) + 1e-6
    assert_close(merged.mean, exact["mean"], size=np.asarray(largest))
    assert_close(merged.var, exact["var"], size=np.asarray(largest**2))


@jax.jit
def split(x, where):
    return functional.merge_moments(
        functional.moments(x, 0, where=where), functional.moments(x, 0, where=~where)
    )


@settings(max_examples=20)
@given(x=tables)
def test_the_gradient_is_orthogonal_to_shifts_and_to_the_result(x):
    """Without epsilon, dx has no component along 1 and xhat: y doesn't see either change."""
    assume((x.std(-1) > 1).all())
    dy = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    dx, y = pull_without_epsilon(x, dy)
    dx, y = np.asarray(dx, np.float64), np.asarray(y, np.float64)
    size = np.abs(dx).max() * C
    np.testing.assert_allclose(dx.sum(-1), 0, atol=1e-5 * size)
    np.testing.assert_allclose((dx * y).sum(-1), 0, atol=1e-5 * size)


@jax.jit
def pull_without_epsilon(x, dy):
    y, pullback = jax.vjp(lambda x: functional.layer_norm(x, epsilon=0.0), x)
    return pullback(dy)[0], y
