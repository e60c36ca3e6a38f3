"""The Python blocks of a page, which run as one program from top to bottom."""

import re
import subprocess
import sys
from pathlib import Path


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


def run_as_a_program(page: Path, folder: Path) -> None:
    """Runs a page's blocks in a fresh process, with JAX's own promotion, and no warning."""
    script = folder / f"{page.name}.py"
    script.write_text(program_of(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
