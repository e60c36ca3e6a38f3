"""The version stands in one place."""

import re
import tomllib
from pathlib import Path

import inox

ROOT = Path(__file__).parents[1]


def test_the_build_takes_the_version_from_the_package():
    """`inox.__version__` is a constant, which pyproject.toml names and doesn't repeat."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in settings["project"]["dynamic"]
    assert "version" not in settings["project"]
    source = ROOT / settings["tool"]["scikit-build"]["metadata"]["version"]["input"]
    said = re.findall(r'^__version__ = "(.+)"$', source.read_text(encoding="utf-8"), re.MULTILINE)
    assert said == [inox.__version__]
