"""Where kernels become part of a program.

Here alone it is told whether Mosaic compiles them or JAX interprets them, which the tests ask for
by :func:`interpreted`: there is no TPU where they run.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from ..jax_internals import pallas

_interpret: Any = False


@contextmanager
def interpreted(how: Any = True) -> Generator[None]:
    """Kernels that are traced meanwhile are interpreted, on any platform.

    Args:
        how: True, which is the quickest, or the `InterpretParams` of Pallas for TPU, which act out
            the memories and copies of a TPU.
    """
    global _interpret
    before, _interpret = _interpret, how
    try:
        yield
    finally:
        _interpret = before


def launch(kernel: Callable[..., None], **settings: Any) -> Callable[..., Any]:
    """A function of arrays that runs a kernel, whose settings are those of `pallas_call`."""
    pl, _ = pallas()
    return pl.pallas_call(kernel, interpret=_interpret, **settings)
