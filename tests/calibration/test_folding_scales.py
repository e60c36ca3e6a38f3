"""`fold_scale`: a norm and the map after it, against the same without scale and bias."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.folding import fold_scale
from inox.nn import BatchNorm, InstanceNorm, LayerNorm, Parameter, RMSNorm
from tests.calibration.networks import message_has, same_bits

INPUTS, OUTPUTS = 4, 3


def normal(*shape, dtype=jnp.float32, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


X, SCALE, SHIFT = normal(5, INPUTS), normal(INPUTS, seed=2), normal(INPUTS, seed=3)
NORMS = [
    LayerNorm(scale=SCALE, bias=SHIFT),
    LayerNorm(scale=SCALE),
    LayerNorm(scale=jnp.float32(2.0), bias=SHIFT[None]),
    LayerNorm(),
    InstanceNorm(axis=-2, scale=SCALE, bias=SHIFT),
    RMSNorm(scale=SCALE),
    RMSNorm(scale=SCALE, scale_offset=1.0, normalized_dtype=jnp.float32),
]
# A map of the norm's output, the shape of its kernel, the axis of the inputs.
MAPS = [
    ("i,io->o", (INPUTS, OUTPUTS), None),
    ("i,io->o", (INPUTS, INPUTS), -2),
    ("i,oi->o", (INPUTS, INPUTS), -1),
    ("i,ihd->hd", (INPUTS, 2, OUTPUTS), 0),
]


def linear(text):
    """`apply(kernel, bias, y)` for rows y."""
    rows = "n" + text.replace("->", "->n")

    def apply(kernel, bias, y):
        product = jnp.einsum(rows, y, kernel)
        return product if bias is None else product + jnp.broadcast_to(bias, product.shape)

    return apply


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(("text", "shape", "axis"), MAPS, ids=str)
def test_the_map_gives_what_it_gave(text, shape, axis):
    """Kernel and bias are those of the formula, and the outputs agree, with and without a bias.

    The norm stays as it was; the one that comes back has the same configuration and no parameters.
    """
    kernel, apply = normal(*shape, seed=4), linear(text)
    place = 0 if axis is None else axis % len(shape)
    outputs = shape[:place] + shape[place + 1 :]
    wide = np.moveaxis(np.asarray(kernel, np.float64), place, -1)
    for norm in NORMS:
        for bias in (None, normal(*outputs, seed=5)):
            options = {"axis": axis, "check": (apply, X), "tolerance": 2e-6}
            plain, new, offset = fold_scale(norm, kernel, bias, **options)
            assert type(plain) is type(norm)
            assert jax.tree.leaves(plain) == []
            assert (plain.axis, plain.epsilon) == (norm.axis, norm.epsilon)
            scale = 1.0 if norm.scale is None else np.asarray(norm.scale.value, np.float64)
            scale = scale + getattr(norm, "scale_offset", 0.0)
            exact = np.moveaxis(wide * scale, -1, place)
            np.testing.assert_allclose(new, exact, rtol=2 * 2.0**-23)
            if norm.bias is None:
                assert offset is bias
                continue
            start = 0 if bias is None else np.asarray(bias, np.float64)
            exact = wide @ np.asarray(norm.bias.value, np.float64).reshape(-1) + start
            assert offset.shape == outputs
            np.testing.assert_allclose(offset, exact, atol=8 * 2.0**-23)
            assert norm.bias is not None


def test_several_maps_follow_one_norm():
    """Each is folded with the norm as it was, and the norms that come back are equal.

    A bias keeps its shape and dtype, Parameters are taken for their arrays, jit works.
    """
    norm = NORMS[0]
    first, second = normal(INPUTS, OUTPUTS, seed=4), normal(INPUTS, 2, seed=5)
    bias = normal(1, 2, dtype=jnp.bfloat16)
    plain, *one = fold_scale(norm, Parameter(first))
    again, *other = jax.jit(fold_scale)(norm, second, Parameter(bias))
    assert jax.tree.structure(plain) == jax.tree.structure(again)
    assert (other[1].shape, other[1].dtype) == ((1, 2), jnp.bfloat16)
    np.testing.assert_allclose(plain(X) @ one[0] + one[1][None], norm(X) @ first, atol=2e-6)
    same_bits(fold_scale(plain, *one)[1:], tuple(one))  # nothing is left to fold


def test_half_kernels_are_rounded_once():
    """Computed in float32: within half a unit of bfloat16, and 1% of one more."""
    kernel = normal(INPUTS, OUTPUTS, dtype=jnp.bfloat16)
    _, new, offset = fold_scale(NORMS[0], kernel)
    wide = np.asarray(kernel, np.float64)
    exact = np.asarray(SCALE, np.float64)[:, None] * wide, np.asarray(SHIFT, np.float64) @ wide
    for found, number in zip((new, offset), exact, strict=True):
        assert found.dtype == jnp.bfloat16
        unit = 2.0 ** np.floor(np.log2(np.abs(number))) * 2.0**-7
        assert (np.abs(np.asarray(found, np.float64) - number) / unit).max() <= 0.51


def test_the_self_check_finds_what_reads_the_norm_otherwise():
    """A map that is none, and a square kernel with its axes exchanged, are caught."""
    kernel, apply = normal(INPUTS, INPUTS), linear("i,oi->o")

    def residual(kernel, bias, y):  # the output of the norm is used once more
        return y + apply(kernel, bias, y)

    for wrong, axis in ((residual, -1), (apply, None)):
        with pytest.raises(ValueError, match="tolerance 1e-05 is exceeded"):
            fold_scale(NORMS[1], kernel, axis=axis, check=(wrong, X), tolerance=1e-5)


def test_mistakes_are_told():
    """Each mistake has a message with the cure."""
    norm, kernel = NORMS[0], normal(INPUTS, OUTPUTS)
    apply = linear("i,io->o")
    for arguments, options, fragments in (
        ((norm, kernel.T), {}, ("3 inputs", "(4,)", "axis=-1")),
        ((norm, kernel[0]), {}, ("an axis of inputs",)),
        ((norm, normal(INPUTS, 2, 2)), {}, ("axis", "(4, 2, 2)", "axis=0")),
        ((norm, kernel), {"axis": 2}, ("axis 2 is out of range",)),
        ((norm, kernel, normal(2)), {}, ("bias must have one value for each output", "(2,)")),
        ((LayerNorm(scale=normal(5, INPUTS)), kernel), {}, ("norm has a scale", "(5, 4)")),
        ((norm, kernel), {"tolerance": 1e-5}, ("belong together",)),
        ((norm, kernel), {"check": (apply, X), "tolerance": -1}, ("tolerance must be",)),
    ):
        with pytest.raises(ValueError, match=fragments[0].split("(")[0]) as error:
            fold_scale(*arguments, **options)
        message_has(error, *fragments)
    for arguments, options, fragments in (
        ((BatchNorm(INPUTS), kernel), {}, ("BatchNorm", "with fold")),
        ((norm, kernel.astype(jnp.int8)), {}, ("kernel", "int8", "then quantize")),
        ((norm, kernel), {"axis": 0.0}, ("axis must be one integer", "inputs")),
        ((norm, kernel), {"check": apply, "tolerance": 1.0}, ("check must be a pair",)),
    ):
        with pytest.raises(TypeError) as error:
            fold_scale(*arguments, **options)
        message_has(error, *fragments)
    with pytest.raises(TypeError, match=r"under jax\.jit"):
        jax.jit(lambda x: fold_scale(norm, kernel, check=(apply, x), tolerance=1.0))(X)
