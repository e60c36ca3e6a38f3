"""The walk of x that the page on how it is built describes is the one that x takes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from inox.kernels.cpu.library import library

PAGE = (Path(__file__).parents[1] / "docs" / "house.md").read_text(encoding="utf-8")

# In a process of its own, in which nothing has been traced yet.
PROGRAM = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
import inox

layer = inox.nn.LayerNorm(scale=jnp.ones(8), bias=jnp.zeros(8))
x, package, entered = jnp.ones((4, 8)), Path(inox.__file__).parent, []

def note(frame, event, _):
    path = Path(frame.f_code.co_filename)
    if event == "call" and path.is_relative_to(package):
        name = path.relative_to(package).as_posix()
        if name not in entered:
            entered.append(name)

sys.setprofile(note)
layer(x)
sys.setprofile(None)
print(*entered)
"""


def part(name: str) -> str:
    return PAGE.split(f"<!-- {name} -->")[1].split("<!-- end of")[0]


@pytest.mark.skipif(not library().available, reason="without kernels x takes another way")
def test_x_goes_where_the_page_says():
    """Through at most eight files, in the order told; the others it enters are told, too."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    entered = done.stdout.split()
    walk = re.findall(r"^\d+\. `([\w/]+\.py)`", part("walk"), flags=re.MULTILINE)
    asked = re.findall(r"`([\w/]+\.py)`", part("asked"))
    assert len(walk) <= 8
    assert [name for name in entered if name in walk] == walk
    assert sorted(set(entered) - set(walk)) == sorted(asked)
