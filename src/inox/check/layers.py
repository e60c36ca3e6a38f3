"""The norms that are checked, as functions of arrays, with the textbook's formula for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .. import functional

Array = jax.Array
# (x, scale, bias, epsilon, implementation) -> y, or y and the sum where one is normalized
Call = Callable[[Array, Array, Array, Array, str | None], Array | tuple[Array, Array]]


class Layer(NamedTuple):
    """A norm over a batch, whose first axis counts examples.

    Args:
        name: What the table calls it.
        call: The norm itself.
        example: The shape of one example; the channels are last.
        axes: The axes that a slice spans, counted from the end, after a split into groups.
        groups: Into how many groups the channels are split; 0 for no split.
        centred: Whether the mean is subtracted, and a bias added.
        by_xla: Whether y and dx are XLA's work, whatever kernels there are.
        apart: Whether an example is normalized by itself, so that no other may change its bits.
        adds: Whether x is added to a residual first: its own numbers, moved on by a channel.
    """

    name: str
    call: Call
    example: tuple[int, ...]
    axes: tuple[int, ...] = (-1,)
    groups: int = 0
    centred: bool = True
    by_xla: bool = False
    apart: bool = True
    adds: bool = False

    def shape(self, examples: int) -> tuple[int, ...]:
        """The shape of a batch."""
        return (examples, *self.example)

    def view(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A batch's shape with the channels split into groups."""
        if not self.groups:
            return shape
        return (*shape[:-1], self.groups, shape[-1] // self.groups)


def _layer(x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None) -> Array:
    return functional.layer_norm(x, scale, bias, epsilon=epsilon, implementation=chosen)


def _rms(x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None) -> Array:
    return functional.rms_norm(x, scale, epsilon=epsilon, implementation=chosen)


def _group(x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None) -> Array:
    return functional.group_norm(x, 4, scale, bias, epsilon=epsilon, implementation=chosen)


def _image(x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None) -> Array:
    axis = (-3, -2, -1)
    return functional.group_norm(
        x, 4, scale, bias, axis=axis, epsilon=epsilon, implementation=chosen
    )


def _instance(x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None) -> Array:
    return functional.layer_norm(
        x, scale, bias, axis=(-3, -2), epsilon=epsilon, implementation=chosen
    )


def _batch(x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None) -> Array:
    y, _ = functional.batch_norm(x, scale, bias, epsilon=epsilon, implementation=chosen)
    return y


def _residual(x: Array) -> Array:
    """What x is added to, a constant to the gradient, which is then that of the sum."""
    return lax.stop_gradient(jnp.roll(x, 1, -1))


def _add_layer(
    x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None
) -> tuple[Array, Array]:
    return functional.add_layer_norm(
        x, _residual(x), scale, bias, epsilon=epsilon, implementation=chosen
    )


def _add_rms(
    x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None
) -> tuple[Array, Array]:
    return functional.add_rms_norm(x, _residual(x), scale, epsilon=epsilon, implementation=chosen)


# Widths that no vector divides, beside one that is common.
LAYERS = (
    Layer("layer norm", _layer, (768,)),
    Layer("layer norm, 100 channels", _layer, (100,)),
    Layer("RMS norm", _rms, (768,), centred=False),
    Layer("group norm, per position", _group, (144,), groups=4),
    Layer("group norm, per image", _image, (12, 11, 24), (-4, -3, -1), groups=4),
    Layer("instance norm", _instance, (12, 11, 24), (-3, -2)),
    Layer("batch norm", _batch, (100,), (-2,), by_xla=True, apart=False),
    Layer("residual + layer norm", _add_layer, (768,), adds=True),
    Layer("residual + RMS norm", _add_rms, (100,), centred=False, adds=True),
)


def textbook(layer: Layer) -> Call:
    """What a textbook says, as `jax.numpy` says it: the mean, the variance, the quotient."""

    def call(x: Array, scale: Array, bias: Array, epsilon: Array, chosen: str | None) -> Array:
        wide = x.astype(jnp.float32).reshape(layer.view(x.shape))
        if layer.centred:
            wide = wide - jnp.mean(wide, layer.axes, keepdims=True)
        var = jnp.mean(jnp.square(wide), layer.axes, keepdims=True)
        y = (wide / jnp.sqrt(var + epsilon)).reshape(x.shape)
        scale, bias = (array.reshape((1,) * (x.ndim - 1) + (-1,)) for array in (scale, bias))
        return (y * scale + bias if layer.centred else y * scale).astype(x.dtype)

    return call


def both(call: Call, chosen: str | None) -> Callable[..., tuple[Any, ...]]:
    """A norm forward and backward in one program.

    From `(dy, x, scale, bias, epsilon)` to y, the gradients of x, scale and bias, and the sum, or
    None where none is formed.
    """

    def run(dy: Array, x: Array, scale: Array, bias: Array, epsilon: Array) -> tuple[Any, ...]:
        def norm(x: Array, scale: Array, bias: Array) -> tuple[Array, Array | None]:
            found = call(x, scale, bias, epsilon, chosen)
            return found if isinstance(found, tuple) else (found, None)

        y, pull, r = jax.vjp(norm, x, scale, bias, has_aux=True)
        return (y, *pull(dy), r)

    return run
