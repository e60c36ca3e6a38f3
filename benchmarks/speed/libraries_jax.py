"""Other JAX libraries as functions (x, *parameters) -> y, called as their users call them.

Parameters come as float32 arrays, and y has the dtype of x: where a library wants to be told its
dtype of computation, it is. None stands for a norm that a library doesn't offer.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .cells import EPSILON, Cell

Norm = Callable[..., Any]


def flax(cell: Cell) -> Norm | None:
    """Flax's linen modules. Running averages are computed from the statistics and dropped."""
    from flax import linen

    if not cell.affine:
        return None
    settings: dict[str, Any] = {"epsilon": EPSILON, "dtype": cell.dtype}
    module = {
        "layer": lambda: linen.LayerNorm(**settings),
        "rms": lambda: linen.RMSNorm(**settings),
        "heads": lambda: linen.RMSNorm(reduction_axes=-1, feature_axes=(-2, -1), **settings),
        "batch": lambda: linen.BatchNorm(use_running_average=False, **settings),
        "group": lambda: linen.GroupNorm(cell.groups, **settings),
        "position": lambda: linen.GroupNorm(cell.groups, reduction_axes=(-1,), **settings),
    }[cell.kind]()
    names = ("scale", "bias")

    def norm(x: Any, *parameters: Any) -> Any:
        variables: dict[str, Any] = {"params": dict(zip(names, parameters, strict=False))}
        if cell.kind != "batch":
            return module.apply(variables, x)
        zeros = jnp.zeros(cell.channels)
        variables["batch_stats"] = {"mean": zeros, "var": zeros}
        return module.apply(variables, x, mutable=["batch_stats"])[0]

    return norm


def equinox(cell: Cell) -> Norm | None:
    """Equinox's modules, vmapped; batch and group norm take images with channels first."""
    import equinox as eqx

    if not cell.affine:
        return None

    def with_parameters(module: Any, parameters: tuple[Any, ...]) -> Any:
        fields = [getattr(module, name) for name in ("weight", "bias")[: len(parameters)]]
        count = len(fields)
        return eqx.tree_at(lambda m: [m.weight, m.bias][:count], module, list(parameters))

    def rows(make: Callable[[], Any]) -> Norm:
        def norm(x: Any, *parameters: Any) -> Any:
            module = with_parameters(make(), parameters)
            return jax.vmap(module)(x.reshape(-1, x.shape[-1])).reshape(x.shape)

        return norm

    def heads(x: Any, scale: Any) -> Any:
        def of_head(x: Any, scale: Any) -> Any:
            module = eqx.nn.RMSNorm(cell.channels, eps=EPSILON, use_bias=False)
            return with_parameters(module, (scale,))(x)

        rows = x.reshape(-1, *x.shape[-2:])
        return jax.vmap(jax.vmap(of_head), (0, None))(rows, scale).reshape(x.shape)

    def batch(x: Any, *parameters: Any) -> Any:
        module, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(
            cell.channels, axis_name="batch", eps=EPSILON, mode="batch"
        )
        module = with_parameters(module, parameters)
        call = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        return call(x, state)[0].astype(x.dtype)

    def group(x: Any, *parameters: Any) -> Any:
        module = eqx.nn.GroupNorm(cell.groups, cell.channels, eps=EPSILON)
        return jax.vmap(with_parameters(module, parameters))(x)

    return {
        "layer": rows(lambda: eqx.nn.LayerNorm(cell.channels, eps=EPSILON)),
        "rms": rows(lambda: eqx.nn.RMSNorm(cell.channels, eps=EPSILON, use_bias=False)),
        "heads": heads,
        "batch": batch,
        "group": group,
        "position": rows(lambda: eqx.nn.GroupNorm(cell.groups, cell.channels, eps=EPSILON)),
    }[cell.kind]


def haiku(cell: Cell) -> Norm | None:
    """Haiku's modules, transformed; parameters in the dtype of x, as a policy would have them."""
    import haiku as hk

    if not cell.affine:
        return None
    axis = -1 if cell.kind == "position" else slice(1, None)
    # The module, and the name it gives its parameters.
    module, name = {
        "layer": (lambda: hk.LayerNorm(-1, True, True, eps=EPSILON), "layer_norm"),
        "rms": (lambda: hk.RMSNorm(-1, eps=EPSILON), "rms_norm"),
        "heads": (lambda: hk.RMSNorm(-1, eps=EPSILON, param_axis=(-2, -1)), "rms_norm"),
        "batch": (lambda: hk.BatchNorm(True, True, decay_rate=0.9, eps=EPSILON), "batch_norm"),
        "group": (lambda: hk.GroupNorm(cell.groups, axis, eps=EPSILON), "group_norm"),
        "position": (lambda: hk.GroupNorm(cell.groups, axis, eps=EPSILON), "group_norm"),
    }[cell.kind]
    call = {"is_training": True} if cell.kind == "batch" else {}
    transformed = hk.transform_with_state(lambda x: module()(x, **call))
    # Shapes alone: the initial parameters are not used.
    shapes, state = jax.eval_shape(
        transformed.init, None, jax.ShapeDtypeStruct(cell.shape, cell.dtype)
    )

    def norm(x: Any, *parameters: Any) -> Any:
        held = {
            key: value.astype(x.dtype).reshape(shapes[name][key].shape)
            for key, value in zip(("scale", "offset"), parameters, strict=False)
        }
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
        return transformed.apply({name: held}, zeros, None, x)[0]

    return norm


def reference(cell: Cell) -> Norm | None:
    """The distribution called inox, without scale and bias, which it hasn't."""
    if cell.affine or cell.kind not in ("layer", "batch", "position"):
        return None
    from inox import nn  # the other package of this name: this runs in a process of its own

    if cell.kind == "layer":
        return nn.LayerNorm(epsilon=EPSILON)
    if cell.kind == "position":
        return nn.GroupNorm(cell.groups, epsilon=EPSILON)
    layer, state = nn.export_state(nn.BatchNorm(cell.channels, epsilon=EPSILON))
    return lambda x: layer(x, state)[0]
