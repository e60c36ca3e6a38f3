"""Layer norm and batch norm of each library as functions (x, scale, bias, dy) -> (y, dx).

Each is called as its users call it, with the library's own defaults but for epsilon, which is the
same for all, and computing in the dtype of x where a library wants to be told.
"""

import importlib
import importlib.metadata
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = 1e-5
Norm = Callable[..., tuple[Any, Any]]


def differentiated(function: Callable[..., Any]) -> Norm:
    """A JAX function (x, scale, bias) -> y with its gradient in x, compiled."""

    @jax.jit
    def run(x: Any, scale: Any, bias: Any, dy: Any) -> tuple[Any, Any]:
        y, pull = jax.vjp(lambda x: function(x, scale, bias), x)
        return y, pull(dy.astype(y.dtype))[0]

    return run


def ours(implementation: str) -> tuple[Norm, Norm]:
    """This library, by one of its implementations."""
    from inox import functional

    settings = {"epsilon": EPSILON, "implementation": implementation}

    def layer(x: Any, scale: Any, bias: Any) -> Any:
        return functional.layer_norm(x, scale, bias, **settings)

    def batch(x: Any, scale: Any, bias: Any) -> Any:
        return functional.batch_norm(x, scale, bias, **settings)[0]

    return differentiated(layer), differentiated(batch)


def inox() -> tuple[Norm, Norm]:
    """This library's formulas, in pure JAX."""
    return ours("xla")


def inox_kernels() -> tuple[Norm, Norm]:
    """This library's CPU kernels, which it uses on CPU if nothing else is said."""
    from inox.kernels.cpu.library import library

    if not library().available:
        raise ModuleNotFoundError(library().reason)
    return ours("cpu")


def flax() -> tuple[Norm, Norm]:
    """Flax's linen modules."""
    from flax import linen

    def layer(x: Any, scale: Any, bias: Any) -> Any:
        module = linen.LayerNorm(epsilon=EPSILON, dtype=x.dtype)
        return module.apply({"params": {"scale": scale, "bias": bias}}, x)

    def batch(x: Any, scale: Any, bias: Any) -> Any:
        module = linen.BatchNorm(use_running_average=False, epsilon=EPSILON, dtype=x.dtype)
        zeros = jnp.zeros(x.shape[-1])
        variables = {
            "params": {"scale": scale, "bias": bias},
            "batch_stats": {"mean": zeros, "var": zeros},
        }
        return module.apply(variables, x, mutable=["batch_stats"])[0]

    return differentiated(layer), differentiated(batch)


def equinox() -> tuple[Norm, Norm]:
    """Equinox's modules, vmapped over the rows."""
    import equinox

    def with_parameters(layer: Any, scale: Any, bias: Any) -> Any:
        return equinox.tree_at(lambda layer: (layer.weight, layer.bias), layer, (scale, bias))

    def layer(x: Any, scale: Any, bias: Any) -> Any:
        module = equinox.nn.LayerNorm(x.shape[-1], eps=EPSILON)
        return jax.vmap(with_parameters(module, scale, bias))(x)

    def batch(x: Any, scale: Any, bias: Any) -> Any:
        module, state = equinox.nn.make_with_state(equinox.nn.BatchNorm)(
            x.shape[-1], axis_name="batch", eps=EPSILON, mode="batch"
        )
        module = with_parameters(module, scale, bias)
        call = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        return call(x, state)[0]

    return differentiated(layer), differentiated(batch)


def haiku() -> tuple[Norm, Norm]:
    """Haiku's modules, transformed."""
    import haiku

    def layer(x: Any, scale: Any, bias: Any) -> Any:
        def forward(x: Any) -> Any:
            return haiku.LayerNorm(-1, create_scale=True, create_offset=True, eps=EPSILON)(x)

        parameters = {"layer_norm": {"scale": scale, "offset": bias}}
        return haiku.transform(forward).apply(parameters, None, x)

    def batch(x: Any, scale: Any, bias: Any) -> Any:
        def forward(x: Any) -> Any:
            module = haiku.BatchNorm(True, True, decay_rate=0.9, eps=EPSILON)
            return module(x, is_training=True)

        transformed = haiku.transform_with_state(forward)
        _, state = transformed.init(None, x)
        shape = (1,) * (x.ndim - 1) + scale.shape
        parameters = {
            "batch_norm": {
                "scale": scale.reshape(shape).astype(x.dtype),
                "offset": bias.reshape(shape).astype(x.dtype),
            }
        }
        return transformed.apply(parameters, state, None, x)[0]

    return differentiated(layer), differentiated(batch)


def keras() -> tuple[Norm, Norm]:
    """Keras's layers on its JAX backend, called without state."""
    import keras

    def stateless(kind: Any, **call: Any) -> Callable[..., Any]:
        def run(x: Any, scale: Any, bias: Any) -> Any:
            module = kind(epsilon=EPSILON, dtype=keras.DTypePolicy(policies[x.dtype.name]))
            module.build(x.shape)
            fixed = [v.value for v in module.non_trainable_variables]
            return module.stateless_call([scale, bias], fixed, x, **call)[0]

        return run

    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
    layer = stateless(keras.layers.LayerNormalization)
    batch = stateless(keras.layers.BatchNormalization, training=True)
    return differentiated(layer), differentiated(batch)


def torch() -> tuple[Norm, Norm]:
    """PyTorch's functions, differentiated by it."""
    import torch

    def tensor(array: Any) -> Any:
        array = np.asarray(array)
        if array.dtype.name == "bfloat16":
            return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
        return torch.from_numpy(array.copy())

    def differentiated_by_torch(function: Callable[..., Any]) -> Norm:
        def run(x: Any, scale: Any, bias: Any, dy: Any) -> tuple[Any, Any]:
            given = tensor(x).requires_grad_()
            y = function(given, tensor(scale), tensor(bias))
            y.backward(tensor(dy))
            dtype = np.asarray(x).dtype
            return tuple(a.detach().float().numpy().astype(dtype) for a in (y, given.grad))

        return run

    def layer(x: Any, scale: Any, bias: Any) -> Any:
        scale, bias = (a.to(x.dtype) for a in (scale, bias))
        return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, bias, EPSILON)

    def batch(x: Any, scale: Any, bias: Any) -> Any:
        return torch.nn.functional.batch_norm(
            x, None, None, scale, bias, training=True, eps=EPSILON
        )

    return differentiated_by_torch(layer), differentiated_by_torch(batch)


LIBRARIES = {
    "inox, kernels": (inox_kernels, "inox-normalization"),
    "inox, formulas": (inox, "inox-normalization"),
    "flax": (flax, "flax"),
    "equinox": (equinox, "equinox"),
    "haiku": (haiku, "dm-haiku"),
    "keras": (keras, "keras"),
    "torch": (torch, "torch"),
}


def installed() -> dict[str, tuple[Norm, Norm]]:
    """Layer norm and batch norm of each library that is there."""
    found = {}
    for name, (make, _) in LIBRARIES.items():
        try:
            found[name] = make()
        except ModuleNotFoundError:
            print(f"{name} is not installed: left out")
    return found


def versions(names: list[str]) -> str:
    """The versions of the libraries measured, and of JAX under them."""
    packages = {name.split(",")[0]: LIBRARIES[name][1] for name in names}
    packages |= {"jax": "jax", "jaxlib": "jaxlib"}
    told = []
    for name, package in packages.items():
        try:
            told.append(f"{name} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            told.append(f"{name} from this repository")
    return ", ".join(told)
