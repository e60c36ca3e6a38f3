"""Whether a layer is set as another framework's is: what a checkpoint of arrays does not tell."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..functional.scalar_arguments import concrete
from ..nn.normalization.base import NormalizationLayer
from .layer_arrays import kind_of

# In float32, in which a layer may hold them, two ways to write a number differ by less.
SAME = 1e-6


def check_kind(
    layer: NormalizationLayer, other: Any, kinds: Mapping[str, Iterable[type[NormalizationLayer]]]
) -> None:
    """Raises where another framework's layer does not compute what ours does.

    A class that is not known, nor a base of it, is taken to be right.

    Args:
        layer: A layer of ours.
        other: A layer of theirs.
        kinds: Our classes, by the names of theirs.

    Raises:
        TypeError: If `layer` is none of those for the class of `other`.

    Example:
        >>> from inox.nn import LayerNorm
        >>> check_kind(LayerNorm(), 1.5, {"float": [LayerNorm]})
    """
    for base in type(other).__mro__:
        if base.__name__ in kinds:
            allowed = list(kinds[base.__name__])
            if not allowed:
                raise TypeError(
                    f"no layer of inox.nn computes what {type(other).__name__} does; found it "
                    f"given for a {type(layer).__name__}. It has no arrays to load."
                )
            if kind_of(layer) not in allowed:
                names = " or ".join(kind.__name__ for kind in allowed)
                raise TypeError(
                    f"layer must be a {names}, to compute what {type(other).__name__} does; found "
                    f"{type(layer).__name__}. Build that, with this one's scale and bias."
                )
            return


def check_settings(layer: NormalizationLayer, owner: str, theirs: Mapping[str, float]) -> None:
    """Raises where a number of the layer's configuration is another.

    What can't be looked at now, such as a tracer, is not compared.

    Args:
        layer: A layer of ours.
        owner: The layer that it is compared with, for messages.
        theirs: The numbers of that one, by our names and in our conventions.

    Raises:
        ValueError: If one differs.

    Example:
        >>> from inox.nn import LayerNorm
        >>> check_settings(LayerNorm(), "LayerNorm of torch", {"epsilon": 1e-5})
    """
    for name, number in theirs.items():
        ours = concrete(getattr(layer, name))
        if ours is not None and not np.allclose(ours, number, rtol=SAME, atol=0):
            found = f"{ours:.10g}" if ours.ndim == 0 else str(ours)
            raise ValueError(
                f"{name} of the layer must be {number:.10g}, which it is in the {owner}; found "
                f"{found}. Build it as {type(layer).__name__}(..., {name}={number:.10g}), or give "
                "the arrays alone to keep yours."
            )
