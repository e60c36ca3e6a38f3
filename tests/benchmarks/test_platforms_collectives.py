"""What devices exchange, counted in texts and in programs compiled for eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.platforms.collectives import Collective, collectives, counted
from benchmarks.platforms.devices import CPU
from benchmarks.platforms.program import read

TEXT = """
%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

%fused (p: f32[16]) -> f32[4] {
  %p = f32[16]{0} parameter(0)
  ROOT %scattered = f32[4]{0} reduce-scatter(%p), dimensions={0}, to_apply=%sum
}

ENTRY %main (x: f32[64], z: bf16[2,8]) -> f32[4] {
  %x = f32[64]{0:T(1024)} parameter(0)
  %z = bf16[2,8]{1,0} parameter(1)
  %reduced = (f32[64]{0:T(1024)}, bf16[2,8]{1,0}) all-reduce(%x, %z), to_apply=%sum
  %start = (bf16[2,8]{1,0}, bf16[8,8]{1,0}) all-gather-start(%z), dimensions={0}
  %done = bf16[8,8]{1,0} all-gather-done(%start)
  %head = f32[16]{0} slice(%x), slice={[0:16]}
  ROOT %y = f32[4]{0} fusion(%head), kind=kCustom, calls=%fused
}
"""


def test_exchanges_and_the_bytes_of_their_results():
    """One for several arrays, one begun and ended apart, one inside of a fusion; no padding."""
    assert collectives(read(TEXT)) == [
        Collective("all-reduce", 64 * 4 + 16 * 2),
        Collective("all-gather", 64 * 2),
        Collective("reduce-scatter", 16),
    ]
    assert counted(read(TEXT)) == {"collectives": 3, "bytes": 288 + 128 + 16}


def test_a_sum_over_rows_that_devices_hold():
    """Of a compiled program: one sum of as many numbers as there are channels."""
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    rows = NamedSharding(mesh, PartitionSpec("devices"))
    whole = NamedSharding(mesh, PartitionSpec())
    x = jax.ShapeDtypeStruct((64, 12), jnp.float32)
    compiled = CPU.compile_sharded(
        lambda x: jnp.sum(x, 0), x, in_shardings=(rows,), out_shardings=whole
    )
    assert collectives(read(compiled.as_text())) == [Collective("all-reduce", 12 * 4)]


def test_what_stays_on_a_device_is_no_exchange():
    """A sum over channels of rows that are split."""
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    rows = NamedSharding(mesh, PartitionSpec("devices"))
    x = jax.ShapeDtypeStruct((64, 12), jnp.float32)
    compiled = CPU.compile_sharded(
        lambda x: jnp.sum(x, 1), x, in_shardings=(rows,), out_shardings=rows
    )
    assert counted(read(compiled.as_text())) == {"collectives": 0, "bytes": 0}
