"""The normalization layers of Equinox, over our functions: one import is changed.

`BatchNorm`, `LayerNorm`, `RMSNorm` and `GroupNorm` are modules of Equinox with the arguments,
fields, shapes and dtypes of its own, so checkpoints, optimizer states, filters and
`eqx.nn.inference_mode` go on as before. All other names are those of `equinox.nn`. So in a model

    import equinox as eqx
    from inox.interop import equinox as nn  # was: from equinox import nn

is the whole change. A model that was built already takes :func:`replace`.

Example:
    >>> import equinox as eqx, jax
    >>> from inox.interop import equinox as nn
    >>> linear = nn.Linear(3, 4, key=jax.random.key(0))  # of Equinox
    >>> block = nn.Sequential([linear, nn.LayerNorm(4), nn.Lambda(jax.nn.relu)])
    >>> print(jax.vmap(block)(jax.numpy.ones((2, 3))).shape)
    (2, 4)
"""

from typing import Any

from .batch import BatchNorm
from .library import eqx
from .replacement import replace
from .slices import GroupNorm, LayerNorm, RMSNorm

__all__ = ["BatchNorm", "GroupNorm", "LayerNorm", "RMSNorm", "replace"]


def __getattr__(name: str) -> Any:
    """Everything else of `equinox.nn`."""
    try:
        return getattr(eqx.nn, name)
    except AttributeError:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}, nor has equinox.nn"
        ) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(eqx.nn)})
