"""What libtpu makes of the kernels, where it is installed: no TPU is needed to compile for one."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
from benchmarks import tpu_kernels as cells
shape = 90112, 768
for dtype in cells.DTYPES:
    print(cells.measured(cells.compiled("v5e", cells.layer, shape, dtype), shape, dtype))
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_x_is_read_once_and_y_written_once():
    """Forward 2 units of x, backward 3, and nothing else that is large; VMEM within 16 MiB.

    A process of its own, which libtpu allows to be one at a time on a machine.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "lockfile" in done.stderr:
        pytest.skip("another process is using libtpu")
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        found = eval(line)
        assert found.pop("all") == pytest.approx(5, abs=0.01)
        units = {name: round(moved, 2) for name, (moved, _) in found.items()}
        assert units == {"inox_normalize": 2, "inox_normalize_cotangent": 3}
        assert all(memory < 16 for _, memory in found.values())
