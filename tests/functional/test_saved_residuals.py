"""What a forward pass keeps for the backward pass: x, and at most two float32 numbers a slice.

For batch norm: x, and at most thirteen a channel.
"""

import math

import jax
import jax.ad_checkpoint
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional

N, L, C = 4, 8, 64
GROUPS = 8
PARAMETER = np.linspace(0.5, 1.5, C, dtype=np.float32)

# The norm, and its number of slices.
NORMS = {
    "layer_norm": (lambda x, s, b: functional.layer_norm(x, s, b), N * L),
    "rms_norm": (lambda x, s, b: functional.rms_norm(x, s), N * L),
    "rms_norm, rounded": (
        lambda x, s, b: functional.rms_norm(x, s, scale_offset=1.0, normalized_dtype=jnp.bfloat16),
        N * L,
    ),
    "group_norm": (lambda x, s, b: functional.group_norm(x, GROUPS, s, b), N * L * GROUPS),
    "group_norm of images": (
        lambda x, s, b: functional.group_norm(x, GROUPS, s, b, axis=(1, 2)),
        N * GROUPS,
    ),
    "instance norm": (lambda x, s, b: functional.layer_norm(x, s, b, axis=1), N * C),
    # Channels are few beside rows: statistics and the affine map may keep some numbers each.
    "batch_norm": (lambda x, s, b: functional.batch_norm(x, s, b)[0], 13 * C // 2),
}
EACH = pytest.mark.parametrize(("norm", "slices"), NORMS.values(), ids=NORMS)


def check(saved, x, slices, parameters=2):
    """`saved` lists shapes and dtypes; parameters and epsilon are there anyway, so may be kept."""
    large = [(shape, dtype) for shape, dtype in saved if math.prod(shape) == x.size]
    assert len(large) <= 1, f"more than one array of the size of x: {large}"
    for _, dtype in large:
        assert dtype == x.dtype
    rest = [(shape, dtype) for shape, dtype in saved if math.prod(shape) != x.size]
    numbers = sum(math.prod(shape) for shape, _ in rest)
    allowed = 2 * slices + parameters * C + 8
    assert numbers <= allowed, f"{numbers} numbers besides x, {allowed} are allowed: {rest}"
    assert all(dtype.itemsize <= 4 for _, dtype in rest)


@EACH
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jitted"])
def test_leaves_of_the_pullback(norm, slices, dtype, jitted):
    """The arrays that the function returned by `jax.vjp` holds on to."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(N, L, C)), dtype)
    _, pullback = jax.vjp(jax.jit(norm) if jitted else norm, x, PARAMETER, PARAMETER)
    leaves = jax.tree.leaves(pullback)
    assert any(leaf.size == x.size for leaf in leaves), "the pullback shows no residuals at all"
    check([(leaf.shape, leaf.dtype) for leaf in leaves], x, slices)


def test_what_a_compiled_program_saves(capsys):
    """`print_saved_residuals` of a layer norm in bfloat16: x, which is an argument, and rows."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(N, L, C)), jnp.bfloat16)
    norm, _ = NORMS["layer_norm"]
    jax.ad_checkpoint.print_saved_residuals(norm, x, PARAMETER, PARAMETER)
    lines = capsys.readouterr().out.splitlines()
    of_rows = [line for line in lines if line.startswith("f32[4,8")]
    of_x = [line for line in lines if line.startswith("bf16[4,8,64]")]
    assert len(of_rows) <= 2, lines
    assert len(of_x) == 1, lines
    assert "argument" in of_x[0], lines
    others = [line for line in lines if line not in of_rows + of_x]
    assert all(
        line.startswith(("f32[64]", "f32[1,1,64]", "f32[]", "f32[1,1,1]")) for line in others
    )


def test_a_mask_adds_the_mask_alone():
    """With `where`, what is kept besides is boolean, in the shape of the mask."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(N, L, C)), jnp.bfloat16)
    where = jnp.arange(L)[None, :, None] < jnp.array([8, 5, 1, 0])[:, None, None]

    def norm(x):
        return functional.layer_norm(x, PARAMETER, PARAMETER, where=where)

    leaves = jax.tree.leaves(jax.vjp(norm, x)[1])
    masks = [leaf for leaf in leaves if leaf.dtype == jnp.bool_]
    assert all(leaf.size <= where.size for leaf in masks)
    others = [(leaf.shape, leaf.dtype) for leaf in leaves if leaf.dtype != jnp.bool_]
    # One more number a row: how many elements it has.
    check(others, x, N * L * 3 // 2)
