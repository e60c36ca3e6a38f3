"""The page on checkpoints: its Python blocks run as one program."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.documentation import program_of

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"


def test_blocks_run(tmp_path, peer):
    """In a fresh process, with JAX's own promotion, and no warning.

    But for the one that NumPy raises of the way in which Keras makes arrays of its variables.
    """
    peer("torch")
    peer("keras")
    source = program_of(PAGE)
    assert source.count("assert") >= 10
    script = tmp_path / "checkpoints.md.py"
    script.write_text(source, encoding="utf-8")
    options = ["-W", "error", "-W", "ignore:__array__ implementation:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *options, str(script)],
        cwd=tmp_path,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_layer_of_torch_is_in_the_table(peer):
    """Each normalization layer of torch with arrays of its own is named on the page."""
    nn = peer("torch").nn
    names = [
        name
        for name in dir(nn)
        if re.fullmatch(r"(Batch|SyncBatch|Layer|Group|Instance|RMS)Norm(\dd)?", name)
    ]
    assert len(names) == 10
    text = PAGE.read_text(encoding="utf-8")
    for name in names:
        short = re.sub(r"InstanceNorm(\dd)", r"\1", name)
        assert f"`{name}(" in text or f"`{short}`" in text, name
