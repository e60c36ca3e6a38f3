"""Real programs for devices that aren't here, where the compilers are installed.

`make platforms` makes an environment with them, in which `.ci/run` runs this file.
"""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.platforms.environment import missing, set_variables
from benchmarks.platforms.figures import figures
from benchmarks.platforms.kernels import kernels
from benchmarks.platforms.program import read
from benchmarks.platforms.targets import TARGETS

set_variables()  # read when a compiler starts, which is later

# 256 MiB in tiles that need no padding.
X = jax.ShapeDtypeStruct((2**16, 2**10), jnp.float32)
X_BYTES = 2**28


@pytest.fixture(params=["h100", "v5e", "v6e"])
def target(request):
    """A device whose compiler is installed."""
    found = TARGETS[request.param]
    if absent := missing(found.modules):
        pytest.skip(f"{', '.join(absent)} is not installed")
    return found


def test_reading_and_writing_once(target):
    """x + 1 is one kernel that moves x twice."""
    found = figures(target.compile(lambda x: x + 1, X))
    assert (found["kernels"], found["bytes"]) == (1, 2 * X_BYTES)
    assert (found["cycles"] > 0) == (target.platform == "tpu")


def test_two_results_of_two_arrays_are_one_kernel(target):
    """The floor of both passes: four arrays."""
    found = figures(target.compile(lambda x, g: (x + 1, x + g), X, X))
    assert (found["kernels"], found["bytes"]) == (1, 4 * X_BYTES)


def test_a_result_of_all_rows_takes_another_pass(target):
    """x is read for its sums over rows, and again for what is made with them."""
    found = figures(target.compile(lambda x: x - jnp.sum(x, axis=0, keepdims=True), X))
    assert found["kernels"] >= 2
    assert 3 * X_BYTES <= found["bytes"] < 3.02 * X_BYTES


def test_half_types_move_half(target):
    """bfloat16 in and out, whatever is computed between."""
    half = jax.ShapeDtypeStruct(X.shape, jnp.bfloat16)
    found = figures(target.compile(lambda x: jnp.exp(x.astype(jnp.float32)).astype(x.dtype), half))
    assert (found["kernels"], found["bytes"]) == (1, X_BYTES)


def test_padding_is_counted_on_tpu_alone(target):
    """GPUs have arrays without gaps. On TPU the axis that isn't padded to 128 is, to 8."""
    odd = jax.ShapeDtypeStruct((2**16, 2**10 + 1), jnp.float32)
    (kernel,) = kernels(read(target.compile(lambda x: x + 1, odd).as_text()))
    held = 2**16 * (2**10 + (8 if target.platform == "tpu" else 1)) * 4
    assert kernel.bytes == 2 * held


def test_a_compiler_that_is_missing_is_told():
    """With what installs it."""
    absent = TARGETS["h100"].__class__("x", "X", "cuda", "1x1x1", ("no_such_module",))
    with pytest.raises(ModuleNotFoundError, match=r"X needs no_such_module.*make platforms"):
        _ = absent.devices
