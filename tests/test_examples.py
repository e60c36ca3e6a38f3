"""The examples of one file run as a user runs them, shortened, and learn what they should."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import compiling
from tests.user_environment import user_environment

EXAMPLES = Path(__file__).parents[1] / "examples"


def numbers_of(folder: Path, *command: str) -> list[float]:
    """The numbers in what an example prints, run in an empty folder."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / command[0]), *command[1:]],
        cwd=folder,
        env=user_environment(XLA_FLAGS=compiling.quick_flags()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [float(number) for number in re.findall(r"\d+\.\d+", done.stdout)]


@pytest.mark.parametrize(
    ("command", "least"),
    [
        (("language/run.py", "--steps", "25"), 1.5),
        (("diffusion/run.py", "--steps", "500"), 2.0),
        (("diffusion/run.py", "--steps", "500", "--bfloat16"), 2.0),
    ],
    ids=["language", "diffusion", "diffusion bfloat16"],
)
def test_training_helps(command, least, tmp_path):
    """What it prints after training is so many times smaller than before."""
    before, after = numbers_of(tmp_path, *command)
    assert before > least * after


def test_flax_with_one_import_changed(tmp_path, peer):
    """It trains, evaluates as it trained, and does both as with Flax' norms."""
    peer("flax")
    ours, theirs = (
        numbers_of(tmp_path, "frameworks/flax_nnx.py", *options) for options in ([], ["--theirs"])
    )
    assert ours[1] < 2 * ours[0] < 1
    assert ours == pytest.approx(theirs, rel=0.1)


def test_equinox_with_one_import_changed(tmp_path, peer):
    """It evaluates as it trained, which with Equinox' own norm it does not after 30 steps."""
    peer("equinox")
    ours, theirs = (
        numbers_of(tmp_path, "frameworks/equinox_model.py", *options)
        for options in ([], ["--theirs"])
    )
    assert ours[1] < 2 * ours[0] < 1
    assert theirs[1] > 2 * theirs[0]
