"""Programs stored with kernels in them, run in processes where there are kernels, or none."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inox
from inox import functional
from inox.kernels.cpu.library import library

pytestmark = pytest.mark.skipif(not library().available, reason="there are no kernels to store")

PROGRAM = """
import sys, warnings
from pathlib import Path
import jax, numpy as np
warnings.simplefilter("error")
import inox

exported = jax.export.deserialize(bytearray(Path(sys.argv[1]).read_bytes()))
print(repr(np.asarray(exported.call(np.arange(12, dtype=np.float32).reshape(3, 4))).tolist()))
"""
X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def stored(tmp_path) -> Path:
    """A file with the gradient of a layer norm as it is exported here."""

    def slope(x):
        return jax.grad(lambda x: (functional.layer_norm(x) ** 3).sum())(x)

    exported = jax.export.export(jax.jit(slope))(X)
    assert "inox_normalize_cotangent" in exported.mlir_module()
    path = tmp_path / "program"
    path.write_bytes(exported.serialize())
    return path


def run(path: Path, **environment: str) -> subprocess.CompletedProcess:
    """The stored program in a process of its own."""
    settings = {"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"} | environment
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, env=settings
    )


@pytest.mark.parametrize("environment", [{}, {"INOX_KERNELS": "off"}], ids=["on", "off"])
def test_a_stored_program_runs_where_the_kernels_are(stored, environment):
    """Switched off, they are in nothing that is made there, but a stored program still has them."""
    done = run(stored, **environment)
    assert done.returncode == 0, done.stderr
    expected = jax.grad(lambda x: (functional.layer_norm(x) ** 3).sum())(jnp.asarray(X))
    np.testing.assert_array_equal(np.float32(eval(done.stdout)), expected)


def test_a_stored_program_says_what_it_lacks(stored, tmp_path):
    """In an installation without kernels: what is missing, why, and both ways out of it."""
    source = Path(inox.__file__).parent
    shutil.copytree(
        source, tmp_path / "sources" / "inox", ignore=shutil.ignore_patterns("lib", "__pycache__")
    )
    sources = (  # without the finder of an editable installation
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        f"sys.path.insert(0, {str(tmp_path / 'sources')!r})"
    )
    program = PROGRAM.replace("import inox\n", f"{sources}\nimport inox\n")
    done = subprocess.run(
        [sys.executable, "-c", program, str(stored)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode != 0
    for words in ("stored with the CPU kernels of Inox", "not built", "implementation='xla'"):
        assert words in done.stderr, done.stderr
