"""The page on Haiku runs, and every public name of the adapter explains itself."""

import subprocess
import sys
from pathlib import Path

import haiku
import pytest

from inox.interop import haiku as ours
from inox.interop.frameworks import framework
from tests.documentation import program_of
from tests.test_docstrings import missing_from, public_methods

PAGE = Path(__file__).parents[2] / "docs" / "interop-haiku.md"


def test_blocks_run(tmp_path):
    """The blocks run as one program in a fresh process, with JAX's own promotion and no warning."""
    source = program_of(PAGE)
    assert source.count("assert") >= 4
    script = tmp_path / "interop-haiku.md.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ours.__all__)
def test_public_names_are_documented(name):
    """Each class and function has its arguments, results, errors and an example."""
    value = getattr(ours, name)
    missing = missing_from(value, name, example=True)
    if isinstance(value, type):
        for method_name, method in public_methods(value):
            missing += missing_from(method, method_name, example=False)
    assert missing == []


def test_without_haiku(tmp_path):
    """Where Haiku is not installed the import says what to install."""
    program = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'haiku':\n"
        "            raise ModuleNotFoundError(\"No module named 'haiku'\", name='haiku')\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "import inox\n"
        "try:\n"
        "    import inox.interop.haiku\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert 'pip install "inox-normalization[haiku]"' in done.stdout
    assert framework("haiku", "haiku") is haiku
