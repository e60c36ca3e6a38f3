"""The normalization classes that the tests speak of: a framework's own, and ours for it."""

from dataclasses import dataclass
from importlib import import_module

NAMES = ("BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm")


@dataclass(frozen=True)
class Framework:
    """Where a framework exposes its normalization classes, and where ours for it are.

    Attributes:
        exposed: The module that users of the framework import them from.
        adapter: Our module, with classes of the same names.
        constructor: The method that every construction of an instance goes through. A Linen module
            is a dataclass, and each subclass gets an `__init__` of its own.
        own_method: The method of the framework's own class that must not run where ours are under
            test.
        names: The classes.
    """

    exposed: str
    adapter: str
    constructor: str = "__init__"
    own_method: str = "__init__"
    names: tuple[str, ...] = NAMES

    @property
    def package(self) -> str:
        """The package in whose modules its classes are looked up."""
        return self.exposed.split(".")[0]

    def own(self) -> dict[str, type]:
        """The framework's own classes by name."""
        return self._classes(self.exposed)

    def ours(self) -> dict[str, type]:
        """Our classes by name."""
        return self._classes(self.adapter)

    def _classes(self, module: str) -> dict[str, type]:
        return {name: getattr(import_module(module), name) for name in self.names}


FRAMEWORKS = {
    "nnx": Framework("flax.nnx", "inox.interop.flax_nnx"),
    "linen": Framework("flax.linen", "inox.interop.flax_linen", constructor="__post_init__"),
    "haiku": Framework("haiku", "inox.interop.haiku"),
    "keras": Framework(
        "keras.layers",
        "conformance.keras_layers",
        # Ours are Keras' own but for what they compute.
        own_method="call",
        names=(
            "BatchNormalization",
            "LayerNormalization",
            "RMSNormalization",
            "GroupNormalization",
        ),
    ),
}
