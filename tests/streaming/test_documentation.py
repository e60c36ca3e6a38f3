"""The page on streams: its blocks run, its programs and pictures are there and say what it says."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np

from tests.documentation import run_as_a_program

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "streaming.md"


def program(name: str) -> ModuleType:
    """A program of the examples as a module."""
    path = ROOT / "examples" / "streaming" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"streaming_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, and no warning is raised."""
    run_as_a_program(PAGE, tmp_path, asserts=10)


def test_pictures_and_programs_are_there():
    """Every picture and program that the page names is in the repository, and the README links."""
    text = PAGE.read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((images/\S+)\)", text)
    programs = re.findall(r"`python (\S+?\.py)", text)
    assert len(pictures) == len(programs) == 2
    for path in [PAGE.parent / name for name in pictures] + [ROOT / name for name in programs]:
        assert path.is_file(), path
    assert "(docs/streaming.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_control_task_trains():
    """With the stream the pole stands three times as long after 15 generations as before."""
    cartpole = program("cartpole")
    draws = cartpole.draw_numbers(5, 30)
    first = cartpole.Draws(draws.network[0], draws.noise[0, :15], draws.begin[0, :15])
    lengths = np.asarray(cartpole.train("stream", first))
    assert lengths[-3:].mean() > 3 * lengths[0]


def test_the_other_ways_err():
    """At a mean of 1e4 deviations sums of squares lose the deviation; the stream does not."""
    found = program("ways").errors(200, np.array([1e4]))
    assert found["E[x²] - E[x]²"][0] > 0.1
    assert found["inox.streaming"][0] < 4e-6
