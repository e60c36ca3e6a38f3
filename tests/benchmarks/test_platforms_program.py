"""Optimised programs read as text: arrays, instructions, kernels and the bytes they move."""

# Lines of programs are as long as compilers write them.
# ruff: noqa: E501

import pytest

from benchmarks.platforms.kernels import kernels
from benchmarks.platforms.program import Array, arrays, read

# A reduction, a fusion of its result with x, and on the way what starts no kernel. Written as the
# compiler for TPU writes: tiles of 8 by 128, statistics in on-chip memory.
REDUCED = """
HloModule jit_f, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}

%fused (p0: f32[100,200], p1: f32[100]) -> f32[100,200] {
  %p0 = f32[100,200]{1,0:T(8,128)} parameter(0)
  %p1 = f32[100]{0:T(128)} parameter(1)
  %wide = f32[100,200]{1,0:T(8,128)} broadcast(%p1), dimensions={0}
  ROOT %centred = f32[100,200]{1,0:T(8,128)} subtract(%p0, %wide)
}

ENTRY %main (x: f32[100,200]) -> f32[100,200] {
  %zero = f32[]{:T(128)} constant(0)
  %x = f32[100,200]{1,0:T(8,128)} parameter(0), metadata={op_name="x"}
  %one = f32[]{:T(128)} add(%zero, %zero)
  %mean = f32[100]{0:T(128)S(1)} reduce(%x, %zero), dimensions={1}, to_apply=%add, backend_config={"estimated_cycles":"70"}
  %view = f32[100,1]{0,1:T(1,128)S(1)} bitcast(%mean)
  ROOT %y = f32[100,200]{1,0:T(8,128)} fusion(%x, %mean), kind=kLoop, calls=%fused, backend_config={"window_config":{"estimated_cycles":"30"}}
}
"""


@pytest.mark.parametrize(
    ("text", "shape", "held"),
    [
        ("f32[]", (), 4),
        ("f32[3,5]{1,0}", (3, 5), 60),
        ("bf16[3,5]{0,1}", (3, 5), 30),
        ("f32[100,200]{1,0:T(8,128)}", (100, 200), 104 * 256 * 4),
        # The second axis is the outer one: it is padded to 8, the first to 128.
        ("f32[100,200]{0,1:T(8,128)}", (100, 200), 128 * 200 * 4),
        # Pairs of rows share words of 32 bits, within the same tile.
        ("bf16[100,200]{1,0:T(8,128)(2,1)}", (100, 200), 104 * 256 * 2),
        # Groups of 8 numbers in the innermost axis take 128 places.
        ("f32[4,32,8]{2,1,0:T(8,128)}", (4, 32, 8), 4 * 32 * 128 * 4),
        ("f32[7]{0:T(1024)}", (7,), 4096),
        ("pred[9]{0}", (9,), 9),
        ("s4[8]{0}", (8,), 4),
    ],
)
def test_bytes_of_an_array_have_the_padding_of_its_layout(text, shape, held):
    """Each axis counted from the innermost, up to the next multiple of the tile."""
    assert arrays(text) == [Array(text.partition("[")[0], shape, held)]


def test_memory_spaces_and_tuples():
    """`S(1)` is on-chip memory; a tuple has several arrays; what is no array has none."""
    found = arrays("(f32[2]{0:T(128)S(1)}, /*index=1*/bf16[2]{0}, u32[]{:S(2)}, token[])")
    assert [(array.dtype, array.space) for array in found] == [
        ("f32", 1),
        ("bf16", 0),
        ("u32", 2),
        ("token", 0),
    ]
    assert [array.unpadded for array in found] == [8, 4, 4, 0]


def test_kernels_are_what_the_device_starts():
    """No views, no constants, no single numbers, nothing inside of a fusion."""
    found = kernels(read(REDUCED))
    assert [(kernel.name, kernel.opcode, kernel.cycles) for kernel in found] == [
        ("mean", "reduce", 70),
        ("y", "fusion", 30),
    ]


def test_bytes_are_those_in_main_memory():
    """x is read by both kernels and y written; the mean, in on-chip memory, is left out."""
    x = 104 * 256 * 4
    scalar = 4  # the initial value of the sum
    assert [kernel.bytes for kernel in kernels(read(REDUCED))] == [x + scalar, 2 * x]


LOOP = """
%body (state: (s32[], f32[16])) -> (s32[], f32[16]) {
  %state = (s32[], f32[16]{0}) parameter(0)
  %count = s32[] get-tuple-element(%state), index=0
  %array = f32[16]{0} get-tuple-element(%state), index=1
  %next = f32[16]{0} negate(%array)
  ROOT %both = (s32[], f32[16]{0}) tuple(%count, %next)
}

%less (state.1: (s32[], f32[16])) -> pred[] {
  %state.1 = (s32[], f32[16]{0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (start: (s32[], f32[16])) -> (s32[], f32[16]) {
  %start = (s32[], f32[16]{0}) parameter(0)
  ROOT %loop = (s32[], f32[16]{0}) while(%start), condition=%less, body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""


def test_a_loop_runs_its_kernels_as_often_as_the_compiler_knows():
    """And not at all where that is up to the data, as of a branch for rare ones."""
    (kernel,) = kernels(read(LOOP))
    assert (kernel.name, kernel.times, kernel.bytes) == ("next", 5, 5 * 2 * 64)
    assert kernels(read(LOOP.replace("known_trip_count", "guessed"))) == []


CALLED = """
%graph (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %first = f32[4]{0} negate(%p)
  ROOT %second = f32[4]{0} fusion(%first), kind=kLoop, calls=%elsewhere
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %call = f32[4]{0} call(%x), to_apply=%graph
}
"""


def test_a_call_is_its_kernels():
    """The compiler for GPUs puts kernels that are started together into one."""
    assert [kernel.name for kernel in kernels(read(CALLED))] == ["first", "second"]


SLICED = """
%part (q0: f32[64], q1: f32[64]) -> f32[8] {
  %q0 = f32[64]{0} parameter(0)
  %q1 = f32[64]{0} parameter(1)
  %low = f32[8]{0} slice(%q0), slice={[0:8]}
  %high = f32[8]{0} slice(%q0), slice={[8:16]}
  %other = f32[8]{0} slice(%q1), slice={[0:8]}
  %all = f32[] reduce(%q1, %other), dimensions={0}, to_apply=%add
  ROOT %sum = f32[8]{0} add(%low, %high)
}

ENTRY %main (x: f32[64], z: f32[64]) -> f32[8] {
  %x = f32[64]{0} parameter(0)
  %z = f32[64]{0} parameter(1)
  %alone = f32[4]{0} slice(%x), slice={[0:4]}
  ROOT %y = f32[8]{0} fusion(%x, %z), kind=kLoop, calls=%part
}
"""


def test_a_slice_reads_no_more_than_itself():
    """Unless the fusion reads the whole array as well."""
    alone, fused = kernels(read(SLICED))
    assert alone.bytes == 2 * 4 * 4
    assert fused.bytes == (2 * 8 + 64 + 8) * 4


PREFETCHED = """
ENTRY %main (s: f32[256], x: f32[8,128]) -> f32[8,128] {
  %s = f32[256]{0:T(256)} parameter(0)
  %x = f32[8,128]{1,0:T(8,128)} parameter(1)
  %copy = (f32[256]{0:T(256)S(1)}, f32[256]{0:T(256)}, u32[]{:S(2)}) copy-start(%s)
  %near = f32[256]{0:T(256)S(1)} copy-done(%copy)
  %slice = ((f32[8,128]{1,0:T(8,128)}), f32[4,128]{1,0:T(4,128)S(1)}, u32[]{:S(2)}) slice-start(%x), slice={[0:4],[0:128]}
  %half = f32[4,128]{1,0:T(4,128)S(1)} slice-done(%slice)
  ROOT %y = f32[8,128]{1,0:T(8,128)} custom-call(%half, %near), custom_call_target="tpu_custom_call"
}
"""


def test_what_is_fetched_ahead_is_told_from_kernels():
    """An array that is copied to on-chip memory crosses main memory once, a slice as its size."""
    copied, sliced, kernel = kernels(read(PREFETCHED))
    assert (copied.is_prefetch, sliced.is_prefetch, kernel.is_prefetch) == (True, True, False)
    assert (copied.bytes, sliced.bytes, kernel.bytes) == (1024, 2048, 4096)


def test_a_text_that_is_no_program_is_refused():
    """In place of a program without kernels."""
    with pytest.raises(ValueError, match="no computation is marked ENTRY"):
        read("module @jit_f {}")
