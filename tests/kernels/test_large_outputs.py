"""Outputs that are stored past the caches have the bits of smaller calls."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from tests.kernels.test_lowering import needs_kernels

BYTES = 16 << 20  # from here on (csrc/operations/rows.cc)


@needs_kernels
# Four rows at a time, and one where rows lie a multiple of 4096 bytes apart; whole cache lines to
# a row, and not.
@pytest.mark.parametrize("channels", [768, 1024, 760])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("far", [False, True], ids=["near 0", "far from 0"])
def test_rows_of_a_large_call_are_those_of_small_ones(channels, dtype, far, rng):
    """y and dx, with a mean of 3 and of 2000 standard deviations in every other row."""
    rows = BYTES // channels // jnp.dtype(dtype).itemsize + 7
    x, dy = rng.standard_normal((2, rows, channels), np.float32)
    x = 3 + x
    x[::2] += 2000 * far
    x, dy = x.astype(dtype), dy.astype(dtype)
    scale, bias = rng.uniform(0.5, 2, (2, channels)).astype(np.float32)

    @jax.jit
    def both(x, dy):
        y, pull = jax.vjp(lambda x: functional.layer_norm(x, scale, bias), x)
        return y, *pull(dy)

    whole = both(x, dy)
    places = np.linspace(0, rows, 4, dtype=int)
    parts = [both(x[a:b], dy[a:b]) for a, b in itertools.pairwise(places)]
    for large, small in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(large, np.concatenate(small))


@needs_kernels
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gate_of_a_large_call_gives_what_it_gives_to_small_ones(dtype, rng):
    """Results and gradients of a residual with a gate a sample, each sample by itself, too."""
    samples, channels = 5, 768
    rows = BYTES // samples // channels // jnp.dtype(dtype).itemsize + 7
    x, residual, dy, dr = rng.standard_normal((4, samples, rows, channels), np.float32).astype(
        dtype
    )
    gate = rng.uniform(0.5, 2, (samples, 1, channels)).astype(np.float32)

    @jax.jit
    def both(x, residual, gate, dy, dr):
        def call(x, residual, gate):
            return functional.add_rms_norm(x, residual, gate=gate)

        results, pull = jax.vjp(call, x, residual, gate)
        return *results, *pull((dy, dr))

    operands = x, residual, gate, dy, dr
    whole = both(*operands)
    parts = [both(*(a[i : i + 1] for a in operands)) for i in range(samples)]
    for large, small in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(large, np.concatenate(small))
