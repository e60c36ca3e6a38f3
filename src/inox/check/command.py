"""The command line, `python -m inox check`: what is measured, in which order, and what it says."""

import argparse
import sys
import time
from collections.abc import Sequence

import jax

from ..installation import installation
from ..kernels.backends import BACKENDS, check_implementation
from .accuracy import Accuracy, accuracy
from .hard_inputs import EVERY
from .invariance import PROMISED, invariant
from .layers import LAYERS, Layer
from .programs import EXAMPLES, program
from .report import PROMISES, TIMES, Write, number, promises, times, titles
from .speed import speed

DESCRIPTION = """\
Measures on this device what the documentation of Inox promises: the error of y and dx of every
norm on hard inputs (a mean of 1e7 spreads, spreads of 1e-14, equal numbers, one number of 1000),
in units in the last place (ulp), against float64 computed by NumPy; whether an example has the
same y and dx, bit for bit, alone and in any batch; and the time, beside the textbook's formula and
a copy.
"""
EPILOG = """\
The exit status is 0 where every promise is kept, 1 where a bound is broken, bits differ that are
promised to be the same, or a sum with a residual is not rounded once, and 2 where nothing could be
measured. The times decide nothing.
"""


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(
        prog="python -m inox check",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--quick", action="store_true", help="fewer inputs, batches and measurements: seconds"
    )
    made.add_argument(
        "--implementation",
        choices=("xla", *dict.fromkeys(b.name for b in BACKENDS.values() if b.name is not None)),
        help="check this one; by default what the norms take on this device by themselves",
    )
    return made


def write_line(text: str) -> None:
    """To the standard output, at once: measuring takes a while."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def devices() -> str:
    """The device in use, and how many there are."""
    found = jax.devices()
    return f"{found[0].platform}, {found[0].device_kind}, 1 of {len(found)}"


def refusal(layers: Sequence[Layer], implementation: str | None) -> str:
    """Why an implementation can't be checked here; empty if it can."""
    try:
        check_implementation(implementation)
        program(layers[0], implementation, EVERY[0], EXAMPLES)
    except ValueError as error:
        return str(error)
    return ""


def check_promises(
    layers: Sequence[Layer], implementation: str | None, quick: bool, write: Write
) -> list[str]:
    """The table of errors and bits; what is broken, in words."""
    broken: list[str] = []
    write("Errors in ulp, the one nearest to its published bound; ! where it is broken.")
    write(titles(PROMISES))
    for layer in layers:
        for dtype in EVERY[:2] if quick else EVERY:
            found = accuracy(layer, dtype, implementation, quick)
            same = invariant(layer, dtype, implementation, quick) if layer.apart else None
            promised = found.backend in PROMISED
            write(promises(layer.name, dtype, found, same, promised))
            broken += over(layer, dtype, found)
            if same is False and promised:
                broken.append(f"{layer.name}, {dtype}: an example's bits depend on its batch")
    return broken


def over(layer: Layer, dtype: str, found: Accuracy) -> list[str]:
    """What doesn't hold, in words."""
    rounded = [] if found.once else [f"{layer.name}, {dtype}: r is not the sum rounded once"]
    return rounded + [
        f"{layer.name}, {dtype}: {name} errs by {number(measured.error)} ulp, and at most "
        f"{number(measured.limit)} are published ({measured.on})"
        for name, measured in (("y", found.y), ("dx", found.dx))
        if not measured.kept
    ]


def tell_times(
    layers: Sequence[Layer], implementation: str | None, quick: bool, write: Write
) -> None:
    """The table of times."""
    write("Medians of one call; as multiples of the textbook's formula and of a copy (x + 1).")
    write(titles(TIMES))
    # What a sum takes depends on where its residual comes from: here it is made of x.
    timed = [layer for layer in layers if not layer.adds]
    for layer in timed[:: 2 if quick else 1]:
        for dtype in EVERY[:1] if quick else EVERY[:2]:
            write(times(layer.name, dtype, *speed(layer, dtype, implementation, quick)))


def main(
    arguments: Sequence[str] | None = None,
    layers: Sequence[Layer] = LAYERS,
    write: Write = write_line,
) -> int:
    """Runs the check; the exit status.

    Args:
        arguments: Those of the command line.
        layers: What is checked: the norms of the package, or another's.
        write: Takes the report, line by line.

    Returns:
        0, or 1 where a promise is broken.
    """
    command = parser()
    chosen = command.parse_args(arguments)
    implementation, quick = chosen.implementation, chosen.quick
    if reason := refusal(layers, implementation):
        command.error(reason)
    start = time.monotonic()
    for title, text in {**installation(), "device": devices()}.items():
        write(f"{title + ':':<9}{text}")
    write("")
    broken = check_promises(layers, implementation, quick, write)
    write("")
    tell_times(layers, implementation, quick, write)
    write("")
    for sentence in broken:
        write(f"BROKEN: {sentence}")
    verdict = f"{len(broken)} promises are broken." if broken else "Every promise is kept."
    write(f"{verdict} ({time.monotonic() - start:.0f} s)")
    return 1 if broken else 0
