"""`python -m inox check` as its users run it."""

import re
import subprocess
import sys

import pytest

from inox.check.layers import LAYERS
from inox.kernels.cpu.library import library
from tests.user_environment import user_environment


def ran(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "inox", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=user_environment(**environment),
    )


def test_every_promise_is_kept_here():
    """The quick form: versions, a line a norm and dtype with its bounds, the times, the verdict."""
    done = ran("check", "--quick")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for title in ("inox", "jax", "python", "kernels", "device"):
        assert re.search(rf"^{title}: +\S", done.stdout, re.MULTILINE)
    promises, times = done.stdout.split("Medians of one call")
    taken = "cpu" if library().available else "xla"
    for layer in LAYERS:
        for dtype in ("float32", "bfloat16"):
            line = rf"^{re.escape(layer.name)} +{dtype} +{taken} +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ "
            (found,) = re.findall(line + ".*", promises, re.MULTILINE)
            if layer.apart and taken == "cpu":
                assert found.endswith("same bits")
    assert re.search(r"^layer norm +float32 +[\d.e-]+ ms( +[\d.]+){2} +[\d.e-]+ ms", times, re.M)
    assert re.search(r"^Every promise is kept\. \(\d+ s\)$", times, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("check", "--implementation", "cpu"), {"INOX_KERNELS": "off"}, "INOX_KERNELS=off"),
        (("check", "--implementation", "fast"), {}, "invalid choice"),
        (("check", "--slow"), {}, "unrecognized arguments: --slow"),
        (("chek",), {}, "python -m inox check"),
    ],
)
def test_what_can_not_be_checked_is_told(arguments, environment, sentence):
    """Status 2 and a sentence, before anything is measured."""
    done = ran(*arguments, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_help_tells_the_options_and_the_status():
    """What is measured, and what the exit status means."""
    done = ran("check", "--help")
    assert done.returncode == 0
    for word in ("--quick", "--implementation", "ulp", "exit status is 0"):
        assert word in done.stdout
    assert "python -m inox check" in ran("--help").stdout
