"""Models that Haiku or a library builds, with our normalization in place of Haiku's."""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

from .base import hk
from .batch import apply_batch_norm
from .groups import apply_group_norm
from .rows import apply_layer_norm, apply_rms_norm

# By the class that has the method: subclasses inherit it, and Haiku's instance norm is one.
_CALLS: dict[type, Callable[..., Any]] = {
    hk.BatchNorm: apply_batch_norm,
    hk.GroupNorm: apply_group_norm,
    hk.LayerNorm: apply_layer_norm,
    hk.RMSNorm: apply_rms_norm,
}


@contextlib.contextmanager
def replaced() -> Generator[None]:
    """Inside of it Haiku's own normalization layers compute what ours do.

    For models whose code is not yours to change: `hk.nets.ResNet18` and others, or a library's.
    The modules stay Haiku's, so names, parameters, state and mixed precision policies stay as they
    are. Use it inside of the function that is transformed, or as its decorator: what counts is
    where a layer is called. It takes the place of a layer's own method, so method interceptors
    that are entered inside of it do not see the calls; those around it do.

    Returns:
        A context manager, and a decorator.

    Example:
        >>> import haiku as hk
        >>> import jax.numpy as jnp
        >>> @replaced()
        ... def network(x, is_training):
        ...     return hk.BatchNorm(True, True, decay_rate=0.9)(x, is_training)
        >>> init, apply = hk.transform_with_state(network)
        >>> x = 3000 + jnp.array([[1.0], [3.0]])
        >>> parameters, state = init(None, x, True)
        >>> print(apply(parameters, state, None, x, True)[0].round(3).T)
        [[-1.  1.]]
    """
    with hk.intercept_methods(_call_ours):
        yield


def _call_ours(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    ours = _CALLS.get(context.orig_class) if context.method_name == "__call__" else None
    return next_call(*args, **kwargs) if ours is None else ours(context.module, *args, **kwargs)
