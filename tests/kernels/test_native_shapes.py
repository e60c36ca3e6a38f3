"""The compiled kernels over shapes: empty, odd, absent operands, unwanted results, mistakes."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from tests.accuracy.cases import CASES, DTYPES
from tests.kernels import native_calls
from tests.kernels.native_cases import measured, operands, over

pytestmark = pytest.mark.usefixtures("x64")

SIZES = strategies.sampled_from([1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 64, 65])
NORMAL = next(case for case in CASES if case.name == "mean/std 1e2")


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    shape=strategies.tuples(
        strategies.sampled_from([1, 2, 3]),
        SIZES,
        strategies.sampled_from([1, 2, 5, 33]),
        *[SIZES] * 2,
    ),
    dtype=strategies.sampled_from(DTYPES),
    centred=strategies.booleans(),
    for_each_outer=strategies.booleans(),
    with_scale=strategies.booleans(),
    with_bias=strategies.booleans(),
    seed=strategies.integers(0, 2**32 - 1),
)
def test_any_shape(shape, dtype, centred, for_each_outer, with_scale, with_bias, seed):
    """Sizes that vectors, strips, blocks and tiles don't divide, with and without parameters."""
    shape = list(shape)
    while np.prod(shape) > 20_000:  # cut the largest
        shape[int(np.argmax(shape))] = 3
    rng = np.random.default_rng(seed)
    given = operands(NORMAL, tuple(shape), dtype, rng, for_each_outer=for_each_outer)
    if not with_scale:
        given.pop("scale")
    if not with_bias:
        given.pop("bias")
    found = measured(**given, epsilon=NORMAL.epsilon, centred=centred)
    assert over(found, dtype, dominated=True) == []


@pytest.mark.parametrize("empty", range(5), ids=["outer", "inner", "length", "groups", "channels"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_arrays(dtype, empty):
    """A size of 0 anywhere: empty results, and the sums of nothing are 0."""
    sizes = [2, 3, 4, 5, 6]
    sizes[empty] = 0
    outer, _, _, groups, channels = sizes
    x = np.zeros(sizes, jnp.dtype(dtype))
    parameters = np.ones((outer, groups, channels))
    assert native_calls.normalize(x, parameters, parameters).shape == tuple(sizes)
    dx, dscale, dbias = native_calls.cotangent(x, x, parameters)
    assert dx.shape == tuple(sizes)
    assert dscale.shape == dbias.shape == (outer, groups, channels)
    assert not dscale.any()
    assert not dbias.any()
    whole = np.zeros([outer, *sizes[2:]], jnp.dtype(dtype))
    mean, mean_low, var = native_calls.moments(whole)
    for result in (mean, mean_low, var, *native_calls.centred_sums(whole, whole, mean, mean_low)):
        assert result.shape == (outer, groups)
        assert not result.any() or empty == 1


@pytest.mark.parametrize("shape", [(2, 9, 1, 3, 20), (2, 9, 20, 3, 2)], ids=["rows", "columns"])
def test_what_is_not_wanted_changes_nothing(shape, rng):
    """Each subset of the gradients has the bits that they have together."""
    given = operands(NORMAL, shape, "float32", rng)
    x, dy, scale = given["x"], given["dy"], given["scale"]
    together = dict(
        zip(("dx", "dscale", "dbias"), native_calls.cotangent(dy, x, scale), strict=True)
    )
    for wanted in [("dx",), ("dscale",), ("dbias",), ("dx", "dbias"), ("dscale", "dbias"), ()]:
        alone = native_calls.cotangent(dy, x, scale, wanted=wanted)
        for name, result in zip(together, alone, strict=True):
            expected = together[name] if name in wanted else np.zeros(0, np.float32)
            np.testing.assert_array_equal(result, expected)


def calls_with_a_mistake():
    """A call for each mistake, and what the error has to say."""
    x, dy = jnp.ones((2, 3, 4, 5, 6)), jnp.ones((2, 3, 4, 5, 6))
    x, dy = x.astype(jnp.float32), dy.astype(jnp.float32)
    epsilon, nothing = jnp.ones((1,), jnp.float32), jnp.zeros((0,), jnp.float32)
    wide = jnp.zeros((0,), jnp.float64)
    parameter = jnp.ones((2, 5, 6), jnp.float32)
    statistic = jnp.ones((2, 5), jnp.float32)
    parameters = jax.ShapeDtypeStruct((2, 5, 6), jnp.float32)
    statistics = jax.ShapeDtypeStruct((2, 5), jnp.float32)
    whole = x[:, 0]
    shape, centred = {"shape": native_calls.sizes(whole)}, {"centred": np.bool_(True)}
    centred["shape"] = native_calls.sizes(x)
    with_inner = {"shape": centred["shape"]}
    forward, backward = "inox_normalize", "inox_normalize_cotangent"
    four, negative = (centred | {"shape": np.array(n)} for n in ([2, 3, 4, 5], [2, -3, -4, 5, 6]))
    return [
        (forward, x, (x, epsilon, nothing, nothing), four, "shape must be five sizes"),
        (forward, x, (x, epsilon, nothing, nothing), negative, "shape must be five sizes"),
        (
            forward,
            x,
            (x[0], epsilon, nothing, nothing),
            centred,
            "x must have as many elements as its shape, 720",
        ),
        (forward, x, (x.astype(jnp.int32), epsilon, nothing, nothing), centred, "x must be float"),
        (forward, x, (x, epsilon[:0], nothing, nothing), centred, "epsilon must have"),
        (forward, x, (x, epsilon, wide, nothing), centred, "scale must be float32, but is float64"),
        (forward, x, (x, epsilon, parameter[:, :4], nothing), centred, "scale must have"),
        (forward, x, (x, epsilon, nothing, statistic), centred, "bias must have"),
        (forward, x[:1], (x, epsilon, nothing, nothing), centred, "y must have"),
        (backward, [x, parameters, parameters], (dy[:1], x, epsilon, nothing), centred, "dy must"),
        (backward, [x, statistics, parameters], (dy, x, epsilon, nothing), centred, "dscale must"),
        (backward, [x, parameters, statistics], (dy, x, epsilon, nothing), centred, "dbias must"),
        (backward, [x[:1], parameters, parameters], (dy, x, epsilon, nothing), centred, "dx must"),
        ("inox_moments", [statistics] * 3, (x,), with_inner, "1 as its inner size here, but has 3"),
        (
            "inox_moments",
            [statistics] * 3,
            (x,),
            shape,
            "x must have as many elements as its shape, 240",
        ),
        ("inox_moments", [statistics, parameters, statistics], (whole,), shape, "mean_low must"),
        ("inox_moments", [statistics] * 2 + [parameters], (whole,), shape, "var must"),
        (
            "inox_centred_sums",
            [statistics] * 2,
            (whole.astype(jnp.float16), whole, statistic, statistic),
            shape,
            "t must be float32, but is float16",
        ),
        (
            "inox_centred_sums",
            [statistics] * 2,
            (whole, whole, statistic[:1], statistic),
            shape,
            "mean must have as many elements as its shape, 10, but has 5",
        ),
    ]


@pytest.mark.parametrize("number", range(19))
def test_a_mistake_is_an_error_that_names_the_operand(number):
    """A wrong type or shape is told in a sentence; nothing is computed."""
    native_calls.library()
    symbol, results, arguments, attributes, sentence = calls_with_a_mistake()[number]
    results = jax.tree.map(lambda result: jax.ShapeDtypeStruct(result.shape, result.dtype), results)
    call = jax.ffi.ffi_call(native_calls.target(symbol), results)
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        jax.block_until_ready(call(*arguments, **attributes))
    assert f"{symbol}: " in str(raised.value)
    assert sentence in str(raised.value)
