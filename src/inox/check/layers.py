"""The norms that are checked, as functions of arrays, with the textbook's formula for each."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import functional

Array = jax.Array
# (x, scale, bias, epsilon, implementation) -> y
Call = Callable[[Array, Array, Array, Array, str | None], Array]


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
    """

    name: str
    call: Call
    example: tuple[int, ...]
    axes: tuple[int, ...] = (-1,)
    groups: int = 0
    centred: bool = True
    by_xla: bool = False
    apart: bool = True

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


# Widths that no vector divides, beside one that is common.
LAYERS = (
    Layer("layer norm", _layer, (768,)),
    Layer("layer norm, 100 channels", _layer, (100,)),
    Layer("RMS norm", _rms, (768,), centred=False),
    Layer("group norm, per position", _group, (144,), groups=4),
    Layer("group norm, per image", _image, (12, 11, 24), (-4, -3, -1), groups=4),
    Layer("instance norm", _instance, (12, 11, 24), (-3, -2)),
    Layer("batch norm", _batch, (100,), (-2,), by_xla=True, apart=False),
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


def both(call: Call, chosen: str | None) -> Callable[..., tuple[Array, ...]]:
    """A norm forward and backward in one program.

    From `(dy, x, scale, bias, epsilon)` to y and the gradients of x, scale and bias.
    """

    def run(dy: Array, x: Array, scale: Array, bias: Array, epsilon: Array) -> tuple[Array, ...]:
        y, pull = jax.vjp(lambda x, s, b: call(x, s, b, epsilon, chosen), x, scale, bias)
        return (y, *pull(dy))

    return run
