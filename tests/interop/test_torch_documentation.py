"""The page on checkpoints: its Python blocks run as one program."""

import re
from pathlib import Path

from tests.documentation import run_as_a_program

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"


def test_blocks_run(tmp_path, peer):
    """In a fresh process, with JAX's own promotion, and no warning.

    But for the one that NumPy raises of the way in which Keras makes arrays of its variables.
    """
    peer("torch")
    peer("keras")
    quiet = ("-W", "ignore:__array__ implementation:DeprecationWarning")
    run_as_a_program(PAGE, tmp_path, *quiet, asserts=10, KERAS_BACKEND="jax")


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
