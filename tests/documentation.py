"""The Python blocks of a page, which run as one program from top to bottom."""

import re
import subprocess
import sys
from pathlib import Path

from tests import compiling
from tests.user_environment import user_environment


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """The line where each Python block of a page starts, and its text."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: match.start(1)].count("\n") + 1, match[1])
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def program_of(page: Path) -> str:
    """All its blocks, each at its line, so that a traceback names the page's line."""
    source = ""
    for start, text in python_blocks(page):
        source += "\n" * (start - 1 - source.count("\n")) + text
    return source


def run_as_a_program(
    page: Path, folder: Path, *options: str, asserts: int = 0, **environment: str
) -> str:
    """Runs a page's blocks as one program in a fresh process, where a warning is an error.

    With JAX's own promotion and a user's environment, but for the compiler's effort.

    Args:
        page: The page.
        folder: Where the program is written and run.
        options: Further options of Python, such as `-W ignore::DeprecationWarning`.
        asserts: How many assertions the page has at least.
        environment: Variables of the environment.

    Returns:
        What it printed.
    """
    source = program_of(page)
    assert source.count("assert") >= asserts
    script = folder / f"{page.name}.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, str(script)],
        cwd=folder,
        env=user_environment(**{"XLA_FLAGS": compiling.quick_flags(), **environment}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
