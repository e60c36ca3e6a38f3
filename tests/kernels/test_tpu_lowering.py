"""Where the kernels for TPU are taken, read in programs that are lowered for a TPU, without one."""

import functools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from inox import functional
from inox.kernels.tpu.block_sizes import VMEM, blocks
from inox.kernels.tpu.views import rows
from tests.kernels.kernel_cases import NORMS, arrays, both


def kernels_in(program, *operands):
    """The names of the kernels in a program for a TPU, in their order."""
    traced = jax.jit(program).trace(*operands)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("@tpu_custom_call") == text.count("kernel_name")
    return re.findall(r'kernel_name = "(\w+)"', text)


def shape(*sizes, dtype="float32"):
    return jax.ShapeDtypeStruct(sizes, jnp.dtype(dtype))


@pytest.mark.parametrize("name", ["layer", "rms"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layer_and_rms_norm_are_one_kernel_each_way(name, dtype):
    """Forward, and backward with the gradients of the parameters."""
    x, parameter = shape(32, 128, dtype=dtype), shape(128)
    operands = [x, x, parameter, parameter]
    expected = ["inox_normalize", "inox_normalize_cotangent"]
    assert kernels_in(both(NORMS[name]), *operands) == expected
    assert kernels_in(both(NORMS[name], "tpu"), *operands) == expected
    assert kernels_in(both(NORMS[name], "xla"), *operands) == []


@pytest.mark.parametrize(
    ("call", "operands"),
    {
        "float16": (functional.layer_norm, [shape(8, 128, dtype="float16")]),
        "first axis": (lambda x: functional.layer_norm(x, axis=0), [shape(8, 128)]),
        "groups without parameters": (lambda x: functional.group_norm(x, 4), [shape(8, 128)]),
        "heads with a scale for each": (functional.rms_norm, [shape(8, 16, 8), shape(16, 8)]),
        "one head": (functional.rms_norm, [shape(8, 64, 1, 8)]),
        "one head with a scale": (functional.rms_norm, [shape(8, 64, 1, 8), shape(1, 8)]),
        "groups of ten channels": (
            lambda x, s: functional.group_norm(x, 64, s),
            [shape(8, 640), shape(640)],
        ),
        "groups in half a register": (
            lambda x, s: functional.group_norm(x, 8, s),
            [shape(8, 64), shape(64)],
        ),
        "heads": (functional.layer_norm, [shape(8, 16, 8), shape(8)]),
        "a mask": (
            lambda x, w: functional.layer_norm(x, where=w),
            [shape(8, 128), shape(8, 1, dtype=bool)],
        ),
        "a scale per sample": (functional.layer_norm, [shape(8, 4, 128), shape(8, 1, 128)]),
        "an epsilon per slice": (
            lambda x, e: jax.vmap(lambda x, e: functional.layer_norm(x, epsilon=e))(x, e),
            [shape(8, 128), shape(8)],
        ),
        "no rows": (functional.layer_norm, [shape(0, 128)]),
        "rows that don't fit": (functional.layer_norm, [shape(8, 2**20)]),
        "channels that fill no register": (functional.layer_norm, [shape(8, 100)]),
        "two axes": (lambda x: functional.layer_norm(x, axis=(1, 2)), [shape(8, 2, 64)]),
        "many rows of a short axis": (functional.layer_norm, [shape(2047, 7, 128)]),
    }.values(),
    ids=lambda value: "",
)
def test_what_has_no_kernel_runs_on_formulas(call, operands):
    """None of them is an error."""
    assert kernels_in(call, *operands) == []


@pytest.mark.parametrize("axis", [1, 0])
def test_group_norm_per_position_is_one_kernel_each_way(axis):
    """Groups of a power of two of channels lie in the lanes of a register, under `vmap` too."""

    def norm(x, scale, bias):
        call = functools.partial(functional.group_norm, groups=16, scale=scale, bias=bias)
        return call(x) if axis else jax.vmap(call)(x)

    x, parameter = shape(4, 16, 128), shape(128)
    found = kernels_in(both(lambda x, s, b, i: norm(x, s, b)), x, x, parameter, parameter)
    assert found == ["inox_normalize", "inox_normalize_cotangent"]


def test_by_name_the_kernels_take_what_has_to_be_copied():
    """Any length and arrangement of rows, so that a row has the same bits in all of them."""
    asked = functools.partial(functional.layer_norm, implementation="tpu")
    for x in (shape(8, 100), shape(2047, 7, 128), shape(3, 200, 7)):
        assert kernels_in(asked, x) == ["inox_normalize"]
    heads = [shape(8, 16, 8), shape(16, 8)]
    assert kernels_in(asked, *heads) == ["inox_normalize"]
    assert kernels_in(asked, shape(8, 1024, 1, 64)) == ["inox_normalize"]
    of_all = jax.grad(lambda x, scale: jnp.sum(asked(x, scale)), (0, 1))
    assert kernels_in(of_all, *heads) == ["inox_normalize_cotangent"]


def test_derivatives_of_higher_order_hold_the_kernels_they_can():
    """Forward mode is a formula; what it is taken of is a kernel."""
    x = shape(8, 128)
    assert kernels_in(lambda x: jax.jvp(functional.layer_norm, (x,), (x,)), x) == ["inox_normalize"]


def test_an_export_for_every_platform_holds_the_kernels_of_each():
    """One trace serves all: the CPU's part is untouched by that of the TPU."""
    x = arrays()[0].reshape(-1, 128)
    program = jax.jit(functional.layer_norm)
    exported = jax.export.export(program, platforms=("cpu", "cuda", "tpu"))(x)
    assert exported.mlir_module().count("tpu_custom_call") == 1
    np.testing.assert_array_equal(exported.call(x), program(x))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_over_several_devices_each_has_a_kernel_where_types_tell_its_rows(kind):
    """With explicit axes, or in a `shard_map`. Where XLA splits a program, it splits formulas."""
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(kind,))
    split = NamedSharding(mesh, PartitionSpec("rows"))
    x = jax.ShapeDtypeStruct((32, 128), jnp.float32, sharding=split)
    expected = ["inox_normalize"] if kind == AxisType.Explicit else []
    assert kernels_in(functional.layer_norm, x) == expected
    spec = PartitionSpec("rows")
    mapped = jax.shard_map(functional.layer_norm, mesh=mesh, in_specs=spec, out_specs=spec)
    assert kernels_in(mapped, x) == ["inox_normalize"]


def test_the_name_on_another_platform_is_an_error():
    with pytest.raises(ValueError, match=r"implementation='tpu'.*lowered for cpu.*None"):
        functional.layer_norm(jnp.ones((4, 128)), implementation="tpu")
    where = jnp.ones((4, 128), bool)
    with pytest.raises(ValueError, match=r"implementation='tpu' has no kernel for a mask"):
        functional.layer_norm(jnp.ones((4, 128)), implementation="tpu", where=where)


PROGRAM = """
import sys
import inox, inox.nn, inox.functional as f
import jax, jax.numpy as jnp
f.layer_norm(jnp.ones((4, 128)))
assert not [name for name in sys.modules if "pallas" in name]
try:
    f.layer_norm(jnp.ones((4, 128)), implementation="tpu")
except ValueError as error:
    print(error)
traced = jax.jit(f.layer_norm).trace(jnp.ones((4, 128)))
print("tpu_custom_call" in traced.lower(lowering_platforms=("tpu",)).as_text())
"""


@pytest.mark.parametrize(("switch", "used"), [("on", "True"), ("off", "False")])
def test_pallas_is_loaded_where_a_kernel_is_lowered_alone(switch, used):
    """An import and a norm on the CPU don't take its time; INOX_KERNELS=off leaves kernels out."""
    environment = os.environ | {"INOX_KERNELS": switch}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    error, found = done.stdout.strip().splitlines()
    assert found == used
    assert ("INOX_KERNELS=off" if switch == "off" else "lowered for cpu") in error


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("channels", [1, 100, 768, 4096, 20000])
def test_blocks_fit_into_memory_and_strips_depend_on_channels_alone(itemsize, channels):
    """Twice each of three arrays, and what is held beside them; whole strips."""
    strips = set()
    for count in (1, 7, 197, 1000, 90112):
        for sheets in (1, 3, 500):
            found = blocks((sheets, count, channels), itemsize, 3, 44)
            padded = -(-channels // 128) * 128
            block = found.sheets * found.rows * padded * itemsize
            assert 6 * block + 44 * padded * 4 <= VMEM
            assert found.rows % found.strip == 0
            assert found.sheets <= sheets
            strips.add(found.strip)
    assert len(strips) == 1


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((6, 64), (1, 6, 64)),
        ((4, 8, 64), (1, 32, 64)),
        ((16, 1, 197, 64), (1, 3152, 64)),
        ((3, 197, 64), (3, 197, 64)),
        ((3, 7, 64), (1, 21, 64)),
        ((5, 1, 64), (1, 5, 64)),
    ],
)
def test_rows_are_merged_where_memory_has_no_gaps(size, sizes, rng):
    """As many as can be; the elements of an array come back in its order."""
    seen = rows(size, (-1,))
    assert seen.sizes == sizes
    x = rng.standard_normal(size)
    np.testing.assert_array_equal(
        seen.array(seen.sheets(jnp.asarray(x, jnp.float32))), x.astype("f")
    )
