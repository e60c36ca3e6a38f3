"""What each layer sends between devices that share the rows of a batch, by arithmetic.

A row norm (layer, RMS, group, instance) needs nothing of other rows in the forward pass; in the
backward pass the gradients of scale and bias are summed over the devices. Batch norm exchanges its
statistics as well, in one of three ways.
"""

from typing import NamedTuple

from collectives import Collective

FLOAT32 = 4  # statistics and gradients of parameters, whatever the dtype of x down to half types


class Layer(NamedTuple):
    """What a layer sends in a forward and backward pass, in float32 numbers a channel.

    Args:
        name: As in the table.
        norm: Which norm it is: layer, rms, group, instance or batch.
        way: How the batch is split: by the compiler with kernels or without, or in a `shard_map`.
        gathered: Numbers that each device gets from every other.
        summed: Numbers that are summed over the devices.
        curve: What the line in the figure is called; empty for no line of its own.
    """

    name: str
    norm: str
    way: str
    gathered: int
    summed: int
    curve: str = ""

    def collectives(self, devices: int, channels: int) -> list[Collective]:
        """Those of a compiled program, with the bytes of their results on each device."""
        if devices == 1 and self.way != "shard_map":  # there they stay, and send nothing
            return []
        gathered = FLOAT32 * self.gathered * devices * channels
        summed = FLOAT32 * self.summed * channels
        found = Collective("all-gather", gathered), Collective("all-reduce", summed)
        return [one for one in found if one.bytes]

    def sent(self, devices: int, channels: int) -> float:
        """The bytes that each device sends, and receives, in a ring."""
        return sum(one.sent(devices) for one in self.collectives(devices, channels))

    @classmethod
    def named(cls, name: str) -> "Layer":
        """The layer of that name in the table."""
        return next(layer for layer in LAYERS if layer.name == name)


LAYERS = (
    Layer("RMS", "rms", "jit", 0, 1, "RMS norm"),
    Layer("layer", "layer", "jit", 0, 2, "layer, group, instance norm"),
    Layer("group", "group", "jit", 0, 2),
    Layer("instance", "instance", "jit", 0, 2),
    # Mean, its residual and the variance are summed one after the other, then two gradients.
    Layer("batch, `jit` without kernels", "batch", "xla", 0, 5, "batch norm, jit without kernels"),
    # The devices' means, residuals and variances; back, the gradients of scale and bias.
    Layer(
        "batch, `jit` with CPU kernels", "batch", "jit", 3, 2, "batch norm, jit with CPU kernels"
    ),
    # Count, mean, residual, variance and its scale; back, all but the count's, and those two.
    Layer("batch, `axis_name`", "batch", "shard_map", 5, 6, "batch norm, axis_name"),
)


def usable(layer: Layer) -> bool:
    """Whether a layer's way can be compiled here: one needs the kernels."""
    from inox.kernels.cpu.library import library

    return (layer.norm, layer.way) != ("batch", "jit") or library().available
