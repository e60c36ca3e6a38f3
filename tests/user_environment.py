"""The environment of a user, for programs that tests run in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def user_environment(**settings: str) -> dict[str, str]:
    """That of the tests without the eight devices that they ask JAX for."""
    return {**{k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}, **settings}


def printed(module: str, *arguments: str, **environment: str) -> list[str]:
    """The lines that a module prints, run as a program with these variables."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=user_environment(**environment),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
