"""The kernels for TPU in Pallas's own TPU: its memories, its copies, races looked for.

Memory that nothing was written to holds NaN there, also what lies beyond the last row and the last
channel of a block: a number read from it would be seen.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from inox.kernels.jax_internals import pallas
from inox.kernels.tpu import lanes
from inox.kernels.tpu.backward import Wanted, gradients_of_rows
from inox.kernels.tpu.block_sizes import Blocks
from inox.kernels.tpu.forward import normalize_rows
from inox.kernels.tpu.launching import interpreted
from tests.functional.programs import quick_jit
from tests.kernels.tpu_kernels import exact

EPSILON = np.full((1, 1), 1e-5, np.float32)
# Tails of rows and channels, strips that no row belongs to, several blocks; sheets; and more
# channels than stand as code one after the other (here).
CASES = [
    ((1, 70, 200), Blocks(strip=16, rows=32)),
    ((5, 19, 128), Blocks(strip=16, rows=32, sheets=2)),
    ((1, 32, 5 * 128 + 5), Blocks(strip=16, rows=16)),
]


@pytest.fixture
def memory(monkeypatch):
    """Kernels are interpreted as on a TPU; no races. Loops over channels are entered early."""
    monkeypatch.setattr(lanes, "GROUP", 2)
    monkeypatch.setattr(lanes, "KEPT", 2)
    _, pltpu = pallas()
    with interpreted(pltpu.InterpretParams(detect_races=True, uninitialized_memory="nan")):
        yield
    from jax._src.pallas.mosaic.interpret import interpret_pallas_call

    assert not interpret_pallas_call.races.races_found


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    ("shape", "blocks", "dtype"),
    [(*CASES[0], "bfloat16"), *((*case, "float32") for case in CASES[1:])],
    ids=str,
)
def test_forward_and_backward(shape, blocks, dtype, rng):
    """Values and all gradients against float64."""
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    scale, bias = rng.uniform(0.5, 2, (2, 1, shape[-1])).astype(np.float32)
    everything = Wanted(x=True, scale=True, bias=True)

    @quick_jit
    def run(x, dy, scale, bias):
        y = normalize_rows(x, EPSILON, scale, bias, blocks=blocks, centred=True)
        found = gradients_of_rows(
            dy, x, EPSILON, scale, blocks=blocks, centred=True, wanted=everything
        )
        return y, found["x"], found["scale"][0], found["bias"][0]

    for actual, wanted in zip(run(x, dy, scale, bias), exact(x, dy, scale, bias), strict=True):
        assert np.isfinite(np.asarray(actual, np.float32)).all()
        half = actual.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            np.asarray(actual, np.float32), wanted, rtol=2**-8 if half else 2e-6, atol=1e-5
        )


@pytest.mark.usefixtures("memory")
def test_groups_of_channels(rng):
    """The same of groups of 16 channels, in more registers than stand as code one after the other.

    The reference has each group as a row of its own; a parameter's gradient is that of a channel.
    """
    rows, size, channels = 19, 16, 5 * 128
    blocks, groups = Blocks(strip=16, rows=16), channels // size
    x, dy = rng.standard_normal((2, 1, rows, channels)).astype(np.float32)
    scale, bias = rng.uniform(0.5, 2, (2, 1, channels)).astype(np.float32)
    everything = Wanted(x=True, scale=True, bias=True)

    @quick_jit
    def run(x, dy, scale, bias):
        settings = {"blocks": blocks, "centred": True, "group": size}
        y = normalize_rows(x, EPSILON, scale, bias, **settings)
        return y, gradients_of_rows(dy, x, EPSILON, scale, wanted=everything, **settings)

    def of_group(array, g):
        return array[..., g * size : (g + 1) * size]

    y, found = run(x, dy, scale, bias)
    actual = y, found["x"], found["scale"][0], found["bias"][0]
    for g in range(groups):
        wanted = exact(*(of_group(array, g) for array in (x, dy, scale, bias)))
        for one, exactly in zip(actual, wanted, strict=True):
            np.testing.assert_allclose(of_group(one, g), exactly, rtol=2e-6, atol=1e-5)
