"""What crosses devices: how many collectives, and how many bytes, read in compiled programs."""

import jax
import numpy as np
import pytest

from examples.distributed.collectives import Collective, collectives_in, kernels_in
from inox.kernels.cpu.library import library
from tests.distributed.ways import CHANNELS, DEVICES, EIGHT, FOUR_BY_TWO, ROWS, Way, place, split

FLOAT32 = 4
MESHES = pytest.mark.parametrize("mesh", [EIGHT, FOUR_BY_TWO], ids=["8", "4x2"])
needs_kernels = pytest.mark.skipif(not library().available, reason=str(library().reason))


def compiled(way: Way, masked: bool, implementation: str | None, backward: bool) -> str:
    """The text of the compiled program."""
    norm = split(way, masked, implementation)
    # Without a gradient for epsilon, as it is in training: that would be one number more.
    epsilon = np.float32(1e-5)

    def forward(x, where, scale, bias):
        return norm(x, where, {"scale": scale, "bias": bias, "epsilon": epsilon})

    def both(x, where, scale, bias):
        y, pullback, _ = jax.vjp(
            lambda *arrays: forward(arrays[0], where, *arrays[1:]), x, scale, bias, has_aux=True
        )
        return y, pullback(x)

    x = place(way, np.zeros((DEVICES * ROWS, CHANNELS), np.float32))
    where = place(way, np.ones((DEVICES * ROWS, 1), bool))
    parameters = np.ones((2, CHANNELS), np.float32)
    program = jax.jit(both if backward else forward)
    return program.lower(x, where, *parameters).compile().as_text()


@MESHES
@pytest.mark.parametrize("masked", [False, True], ids=["all rows", "masked"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "both"])
def test_in_shard_map_one_forward_and_one_backward(mesh, masked, backward):
    """A gather of four numbers a channel and device, and a sum of four numbers a channel.

    Mean, its residual, variance and its scale, and under a mask the count; back come the gradients
    of mean and variance, of scale and of bias. Two names of a mesh are gathered at once, not one
    after the other.
    """
    text = compiled(Way("shard_map", mesh), masked, None, backward)
    expected = [Collective("all-gather", FLOAT32 * (4 + masked) * DEVICES * CHANNELS)]
    if backward:
        expected.append(Collective("all-reduce", FLOAT32 * 4 * CHANNELS))
    assert collectives_in(text) == expected


@needs_kernels
@MESHES
def test_split_by_the_compiler_with_kernels(mesh):
    """A gather of three numbers a channel and device, and a sum of two: scale's and bias's."""
    text = compiled(Way("jit", mesh), masked=False, implementation=None, backward=True)
    assert kernels_in(text).total() == 2
    assert collectives_in(text) == [
        Collective("all-gather", FLOAT32 * 3 * DEVICES * CHANNELS),
        Collective("all-reduce", FLOAT32 * 2 * CHANNELS),
    ]


@MESHES
def test_split_by_the_compiler_without_kernels(mesh):
    """As with them: statistics take one gather, not a sum for each of mean, residual, variance."""
    text = compiled(Way("jit", mesh), masked=False, implementation="xla", backward=True)
    assert not kernels_in(text)
    assert collectives_in(text) == [
        Collective("all-gather", FLOAT32 * 3 * DEVICES * CHANNELS),
        Collective("all-reduce", FLOAT32 * 2 * CHANNELS),
    ]


@MESHES
@pytest.mark.parametrize("implementation", [None, "xla"])
def test_split_by_the_compiler_with_a_mask(mesh, implementation):
    """One gather, of the counts as well; whether a row counts at all is asked beside it."""
    text = compiled(Way("jit", mesh), True, implementation, backward=False)
    found = collectives_in(text)
    assert Collective("all-gather", FLOAT32 * 4 * DEVICES * CHANNELS) in found
    assert sum(one.bytes for one in found if one.kind != "all-gather") <= 2 * FLOAT32 * CHANNELS


def test_bytes_are_read_from_every_form_of_a_collective():
    """Arrays, tuples, half types, and the asynchronous form that GPUs have."""
    text = """
      %a = f32[8,3]{1,0} all-gather(%x), replica_groups={{0,1}}, dimensions={0}
      %b = (f32[4]{0}, bf16[2,3]{1,0}, f32[]) all-reduce(%x, %y, %z), to_apply=%add
      %c = (f32[3]{0}, f32[8,3]{1,0}) all-gather-start(%x), dimensions={0}
      %d = f32[8,3]{1,0} all-gather-done(%c)
      %e = f32[4]{0} all-reduce-start(%x), to_apply=%add
      %f = f32[4]{0} all-reduce-done(%e)
      %g = f32[4]{0} add(%all-reduce, %x)
    """
    assert collectives_in(text) == [
        Collective("all-gather", 96),
        Collective("all-reduce", 16 + 12 + 4),
        Collective("all-gather", 96),
        Collective("all-reduce", 16),
    ]
    assert Collective("all-gather", 96).sent(8) == 84
    assert Collective("all-reduce", 16).sent(8) == 28
    assert Collective("all-reduce", 16).sent(1) == 0
