"""Our normalization under the names and conventions of other frameworks.

Each module says one framework's conventions and nothing numeric: names, arguments, defaults,
shapes, layouts, what is a parameter and what a running statistic. What it computes stands in
:mod:`.core`, which is :mod:`inox.functional` in the terms that frameworks share.

None of them is imported before it is asked for, and none of the frameworks is a dependency.
"""

import importlib
from typing import Any

# Those that load at their first use, each with the framework that it is for.
ADAPTERS = ("equinox", "flax_linen", "flax_nnx", "haiku", "keras", "torch")


def __getattr__(name: str) -> Any:
    """Loads an adapter at its first use: `inox.interop.torch` needs no import of its own."""
    if name in ADAPTERS:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}. Its adapters: {', '.join(ADAPTERS)}"
    )
