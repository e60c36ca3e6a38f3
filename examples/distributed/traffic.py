"""What each layer sends between devices that share the rows of a batch, by arithmetic.

A row norm (layer, RMS, group, instance) needs nothing of other rows in the forward pass; in the
backward pass the gradients of scale and bias are summed over the devices. Batch norm exchanges its
statistics as well: few are gathered, many are summed.
"""

from typing import NamedTuple

from collectives import Collective

# Up to how many moments of all devices are gathered (`inox.functional.pooling_over_devices`).
GATHERED = 2**14
FLOAT32 = 4  # statistics and gradients of parameters, whatever the dtype of x down to half types


class Layer(NamedTuple):
    """What a layer sends in a forward and backward pass, in float32 numbers a channel.

    Args:
        name: As in the table.
        norm: Which norm it is: layer, rms, group, instance or batch.
        way: How the batch is split: by the compiler with kernels or without, or in a `shard_map`.
        gathered: Numbers that each device gets from every other, where they are gathered.
        pooled: Numbers that are summed over the devices in their place.
        summed: Numbers that are summed over the devices in any case.
        curve: What the line in the figure is called; empty for no line of its own.
    """

    name: str
    norm: str
    way: str
    gathered: int
    pooled: int
    summed: int
    curve: str = ""

    def collectives(self, devices: int, channels: int) -> list[Collective]:
        """Those of a compiled program, with the bytes of their results on each device."""
        if devices == 1 and self.way != "shard_map":  # there they stay, and send nothing
            return []
        few = devices * channels <= GATHERED
        gathered = FLOAT32 * self.gathered * devices * channels if few else 0
        summed = FLOAT32 * (self.summed + (0 if few else self.pooled)) * channels
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
    Layer("RMS", "rms", "jit", 0, 0, 1, "RMS norm"),
    Layer("layer", "layer", "jit", 0, 0, 2, "layer, group, instance norm"),
    Layer("group", "group", "jit", 0, 0, 2),
    Layer("instance", "instance", "jit", 0, 0, 2),
    # The devices' means, residuals and variances, or five sums; back, two of all gradients.
    Layer("batch, `jit` with CPU kernels", "batch", "jit", 3, 5, 2, "batch norm, jit"),
    Layer("batch, `jit` without kernels", "batch", "xla", 3, 5, 2),
    # Mean, residual, variance and its scale, or as many sums; back, those of mean and variance,
    # of scale and bias.
    Layer("batch, `axis_name`", "batch", "shard_map", 4, 5, 4, "batch norm, axis_name"),
)


def usable(layer: Layer) -> bool:
    """Whether a layer's way can be compiled here: one needs the kernels."""
    from inox.kernels.cpu.library import library

    return (layer.norm, layer.way) != ("batch", "jit") or library().available
