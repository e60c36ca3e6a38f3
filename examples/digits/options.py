"""The command line: what can be asked for, and one-line answers to mistakes.

This file needs nothing but the standard library, so that `--help` answers at once.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NoReturn

NORMS = ("batch", "layer", "group", "none")

DESCRIPTION = """\
Train a small convolutional network on 1,797 images of handwritten digits with batch norm, with
layer norm, with group norm and without a norm. The four are compared in a table and in a figure,
and each is saved after every epoch and evaluated again by a fresh process.
"""
EPILOG = """\
Ctrl-C stops the training and leaves the last checkpoint, which --evaluate reads. A new run
replaces the checkpoints that an earlier one left in the same folder.
"""


class UsageError(Exception):
    """Something the user can put right. It is shown as one line, without a traceback."""


class Parser(argparse.ArgumentParser):
    """A parser that raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Points to the help, which says more than one line of usage."""
        raise UsageError(f"{message} (--help lists the options)")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, found {text!r}")
    return int(text)


def seed(text: str) -> int:
    """A whole number that fits in 32 bits, as JAX's random keys need."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from 0 to 4294967295, found {text!r}"
        )
    return int(text)


def make_writable(folder: Path) -> None:
    """Makes the folder, and finds out before the training whether files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"argument --out: cannot write to {folder}: {error.strerror}") from error


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the options of this run, or raises `UsageError`."""
    parser = Parser(prog="run.py", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "--norm", choices=(*NORMS, "all"), default="all", help="which network to train (all)"
    )
    parser.add_argument(
        "--epochs", type=positive, default=20, help="passes through the training images (20)"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=64, help="images in a training step (64)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="fixes the first weights and the order of images (0)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/digits"),
        help="folder for the checkpoints, the figure and the numbers (out/digits)",
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help="train nothing: load these checkpoints, count the test images they get right, and "
        "fail if it is not the number that was counted when they were saved",
    )
    options = parser.parse_args(arguments)
    for folder in options.evaluate or ():
        if not folder.is_dir():
            raise UsageError(f"argument --evaluate: no folder {folder}")
    if options.evaluate is None:
        make_writable(options.out)
    return options
