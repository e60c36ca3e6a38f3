"""Masks that leave out whole slices (padded tokens, rows, samples) run on the kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from inox.kernels.cpu.library import library
from tests.kernels.kernel_cases import kernels_in

pytestmark = [
    pytest.mark.skipif(
        not library().available,
        reason="the kernels are switched off, or not part of the installation",
    ),
    pytest.mark.compiled_quickly,
]
# x of (N, L, C), the shape of the mask, (x, scale, bias, where, implementation) -> y
TOKENS = (3, 11, 24)
CASES = {
    "layer norm, tokens": (
        TOKENS,
        (3, 11, 1),
        lambda x, s, b, w, i: functional.layer_norm(x, s, b, where=w, implementation=i),
    ),
    "layer norm, samples": (
        TOKENS,
        (3, 1, 1),
        lambda x, s, b, w, i: functional.layer_norm(x, s, b, where=w, implementation=i),
    ),
    "layer norm, one mask for all samples": (
        TOKENS,
        (1, 11, 1),
        lambda x, s, b, w, i: functional.layer_norm(x, s, b, where=w, implementation=i),
    ),
    "RMS norm, tokens": (
        TOKENS,
        (3, 11, 1),
        lambda x, s, b, w, i: (
            functional.rms_norm(x, s, where=w, implementation=i)
            + jnp.where(w, b, 0).astype(x.dtype)
        ),
    ),
    "group norm, positions": (
        TOKENS,
        (3, 11, 1),
        lambda x, s, b, w, i: functional.group_norm(x, 3, s, b, where=w, implementation=i),
    ),
    "group norm, images": (
        TOKENS,
        (3, 1, 1),
        lambda x, s, b, w, i: functional.group_norm(
            x, 3, s, b, axis=(-2, -1), where=w, implementation=i
        ),
    ),
    "instance norm, images": (
        TOKENS,
        (3, 1, 1),
        lambda x, s, b, w, i: functional.layer_norm(x, s, b, axis=-2, where=w, implementation=i),
    ),
}
EACH = pytest.mark.parametrize("name", CASES)


def drawn(name, rng, dtype="float32"):
    """The norm, x with NaN in what is masked, dy, scale, bias and the mask."""
    shape, of_mask, norm = CASES[name]
    where = rng.uniform(size=of_mask) < 0.6
    where.flat[0], where.flat[1] = True, False
    x, dy = (3 + 2 * rng.standard_normal((2, *shape))).astype(np.float32)
    x, dy = (np.where(where, array, np.nan).astype(jnp.dtype(dtype)) for array in (x, dy))
    scale, bias = rng.uniform(0.5, 2, (2, shape[-1])).astype(np.float32)
    return norm, x, dy, scale, bias, where


def both(norm, implementation=None):
    def run(x, dy, scale, bias, where):
        def of(x, scale, bias):
            return norm(x, scale, bias, where, implementation)

        y, pull = jax.vjp(of, x, scale, bias)
        return y, *pull(dy)

    return run


@EACH
def test_runs_on_kernels(name, rng):
    """One kernel each way, also where the mask is asked for by name."""
    norm, *given = drawn(name, rng)
    for implementation in (None, "cpu"):
        text = jax.jit(both(norm, implementation)).lower(*given).compile().as_text()
        assert kernels_in(text) == {"inox_normalize_where": 1, "inox_cotangent_where": 1}


@EACH
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_masked_slices_are_zero_and_others_untouched(name, dtype, rng):
    """y and dx are 0 whatever x and dy hold, gradients leave them out, as by the formulas."""
    norm, x, dy, *rest = drawn(name, rng, dtype)
    where = rest[-1]
    y, dx, *gradients = jax.jit(both(norm))(x, dy, *rest)
    kept = np.broadcast_to(where, x.shape)
    for array in (y, dx):
        assert not np.any(np.asarray(array)[~kept])
    finite = np.where(kept, x, 1).astype(x.dtype), np.where(kept, dy, 0).astype(x.dtype)
    plain = jax.jit(both(lambda x, s, b, w, i: norm(x, s, b, jnp.ones_like(w), i)))
    of_all = plain(*finite, *rest)
    for masked, full in zip((y, dx), of_all, strict=False):
        np.testing.assert_array_equal(np.asarray(masked)[kept], np.asarray(full)[kept])
    expected = jax.jit(both(norm, "xla"))(x, dy, *rest)[2:]
    for found, right in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5 * np.abs(right).max())


def test_a_mask_of_each_example(rng):
    """Under vmap over x and the mask, or over the mask alone."""
    x = rng.standard_normal((2, 5, 8)).astype(np.float32)
    where = rng.uniform(size=(2, 5, 1)) < 0.5

    def norm(x, where):
        return functional.layer_norm(x, where=where)

    np.testing.assert_array_equal(jax.vmap(norm)(x, where), norm(x, where))
    alone = jax.vmap(norm, in_axes=(None, 0))(x[0], where)
    np.testing.assert_array_equal(alone, np.stack([norm(x[0], w) for w in where]))


def test_a_mask_within_slices_has_no_kernel(rng):
    """It runs on the formulas, and is refused where the kernels are asked for."""
    x = rng.standard_normal((4, 8)).astype(np.float32)
    where = rng.uniform(size=x.shape) < 0.8
    text = jax.jit(functional.layer_norm).lower(x, where=where).compile().as_text()
    assert not kernels_in(text)
    for call in (functional.layer_norm, functional.rms_norm, functional.standardize):
        with pytest.raises(ValueError, match=r"no kernel for a mask that varies within a slice"):
            call(x, where=where, implementation="cpu")
    with pytest.raises(ValueError, match=r"no kernel for a mask that varies within a slice"):
        functional.layer_norm(x, where=where[:, :1], axis=0, implementation="cpu")
    with pytest.raises(ValueError, match=r"no kernel for a mask;"):
        functional.batch_norm(x, where=where[:, :1], implementation="cpu")
