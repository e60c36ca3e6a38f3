"""What XLA's compiler for GPUs makes of the gradients of rows, where it is installed.

`make platforms` makes an environment with it, in which `.ci/run` runs this file.
"""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.platforms.contestants import with_pass
from benchmarks.platforms.environment import missing, set_variables
from benchmarks.platforms.figures import figures
from benchmarks.platforms.targets import TARGETS
from inox.functional import layer_norm, rms_norm

set_variables()  # read when the compiler starts, which is later

TARGET = TARGETS["h100"]

pytestmark = pytest.mark.skipif(
    bool(missing(TARGET.modules)), reason="the compiler for GPUs is not installed"
)


def _moved(norm, which, x, *parameters):
    found = figures(TARGET.compile(with_pass(norm, which), x, x, *parameters))
    return found["kernels"], found["bytes"] / (x.size * x.dtype.itemsize)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8192, 768), "float32"), ((8192, 768), "bfloat16"), ((16, 197, 64), "bfloat16")],
    ids=str,
)
@pytest.mark.parametrize("norm", [layer_norm, rms_norm])
def test_the_gradient_of_x_is_one_kernel(norm, shape, dtype):
    """x and dy are read, dx is written; beside y two kernels of five arrays."""
    x = jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))
    assert _moved(norm, "backward", x) == (1, 3)
    assert _moved(norm, "both", x) == (2, 5)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((64, 196, 64), "bfloat16"), ((16, 32, 32, 16), "float32")], ids=str
)
def test_short_rows_and_their_parameters_are_six_arrays(shape, dtype):
    """dx, parts of dscale and parts of dbias are a kernel each; the sums of parts one or two."""
    x = jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))
    parameter = jax.ShapeDtypeStruct(shape[-1:], jnp.float32)
    kernels, arrays = _moved(layer_norm, "backward", x, parameter, parameter)
    assert kernels in (4, 5)
    assert 6 < arrays < 6.3
