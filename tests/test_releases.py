"""What a release says of itself agrees: version, changelog, and the versions of others."""

import re
import tomllib
from pathlib import Path

import inox

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]
PAGE = (ROOT / "docs" / "releases.md").read_text(encoding="utf-8")


def oldest(requirements, name):
    """The lower bound that a list of requirements has for a distribution."""
    (found,) = [line.removeprefix(f"{name}>=") for line in requirements if line.startswith(name)]
    return found


def test_the_changelog_has_this_version_and_its_date():
    """The newest heading with a number is the package's version, and has a day."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\d\S*)(.*)$", text, re.MULTILINE)
    version, date = headings[0]
    assert version == inox.__version__
    assert re.fullmatch(r" - 20\d\d-[01]\d-[0-3]\d", date)


def test_supported_versions_are_those_that_pip_asks_for():
    """The page's first table has the lower bounds of pyproject.toml."""
    extras = PROJECT["optional-dependencies"]
    bounds = {
        "Python": PROJECT["requires-python"].removeprefix(">="),
        "jax, jaxlib": oldest(PROJECT["dependencies"], "jax"),
        "Flax": oldest(extras["flax"], "flax"),
        "Equinox": oldest(extras["equinox"], "equinox"),
        "Haiku": oldest(extras["haiku"], "dm-haiku"),
        "Keras": oldest(extras["keras"], "keras"),
    }
    said = re.findall(r"^\| (.+?) \| (\S+) and newer \|", PAGE, re.MULTILINE)
    assert dict(said) == bounds


def test_the_kernels_are_built_for_the_oldest_jax():
    """The jaxlib that they are compiled with is the oldest that jax's lower bound lets in."""
    (built,) = [line for line in SETTINGS["build-system"]["requires"] if line.startswith("jaxlib")]
    assert built == f"jaxlib=={oldest(PROJECT['dependencies'], 'jax')}.0"
