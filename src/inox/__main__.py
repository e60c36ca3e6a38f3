"""What the package says of itself: `python -m inox` and `python -m inox check`.

The first prints the versions, and whether and how the CPU kernels run. The second measures, on the
device at hand, what the documentation promises; `python -m inox check --help` tells more.
"""

import sys
from collections.abc import Sequence

from .installation import installation


def report() -> str:
    """What a bug report should say."""
    return "\n".join(f"{title + ':':<9}{text}" for title, text in installation().items())


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit status."""
    if not arguments:
        print(report())
        return 0
    if arguments[0] == "check":
        from .check.command import main as check  # it imports all of the package

        return check(arguments[1:])
    asked = arguments[0] in ("-h", "--help")
    print(f"{__doc__ or ''}".strip(), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
