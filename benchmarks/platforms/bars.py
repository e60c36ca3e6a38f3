"""What the programs of this package may need at most.

For a norm, the shape of x without its first axis, and its dtype: the figures of the forward pass,
of the backward pass alone, and of both together. They are kernels, bytes over the floor's and, on
TPU, cycles over the floor's, rounded up to two digits; None where nothing is asked. They are about
the compilers of requirements.txt. A formula that needs less lowers its line: `make platforms
ARGS="--bars"` prints the lines as they are measured.
"""

from typing import Any

BARS: dict[str, dict[Any, Any]] = {}

# The programs of the short form, `make platforms ARGS="--check"`.
CHECKED: dict[str, tuple[Any, ...]] = {}
