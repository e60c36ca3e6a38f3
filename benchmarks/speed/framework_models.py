"""Models of other frameworks, whose norms are exchanged by changing one import.

A model more is a function in a file `framework_*.py` and a line in `MODELS`. The function gets the
namespace that the norms come from, the framework's own or that of :mod:`inox.interop`, and gives
:class:`Steps` with parameters drawn from the same seed either way.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

CLASSES = 10
SEQUENCE, WIDTH, DEPTH, HEADS = (8, 128), 256, 4, 8
LEARNING_RATE = 1e-3


class Steps(NamedTuple):
    """A model in training.

    `train` takes what is `carried` from step to step and the batch, and gives the new one and the
    loss; `evaluate` takes `carried` and the input, and gives the output. Both are plain functions,
    compiled by who measures. `per_call` does what the framework's Python does at each call.
    """

    carried: Any
    batch: tuple[np.ndarray, np.ndarray]
    train: Callable[[Any, Any, Any], tuple[Any, Any]]
    evaluate: Callable[[Any, Any], Any]
    per_call: Callable[[], Any]
    called: str


class Entry(NamedTuple):
    """A model, and the two modules that its norms are taken from in turn."""

    title: str
    framework: str
    theirs: str
    ours: str
    file: str
    function: str

    def available(self) -> bool:
        """Whether the framework is installed."""
        return importlib.util.find_spec(self.framework) is not None

    def make(self, whose: str) -> Steps:
        """The model with the norms of one of the two."""
        file = importlib.import_module(f".{self.file}", __package__)
        return getattr(file, self.function)(importlib.import_module(getattr(self, whose)))


NNX = ("flax", "flax.nnx", "inox.interop.flax_nnx", "framework_nnx")
LINEN = ("flax", "flax.linen", "inox.interop.flax_linen", "framework_linen")
EQUINOX = ("equinox", "equinox.nn", "inox.interop.equinox", "framework_equinox")
HAIKU = ("haiku", "haiku", "inox.interop.haiku", "framework_haiku")
MODELS = {
    "nnx convolutional": Entry("Flax NNX, convolutional net", *NNX, "convolutional"),
    "nnx transformer": Entry("Flax NNX, transformer", *NNX, "transformer"),
    "linen convolutional": Entry("Flax Linen, convolutional net", *LINEN, "convolutional"),
    "linen transformer": Entry("Flax Linen, transformer", *LINEN, "transformer"),
    "equinox convolutional": Entry("Equinox, convolutional net", *EQUINOX, "convolutional"),
    "equinox transformer": Entry("Equinox, transformer", *EQUINOX, "transformer"),
    "haiku convolutional": Entry("Haiku, convolutional net", *HAIKU, "convolutional"),
    "haiku resnet": Entry("Haiku, its own ResNet-18", *HAIKU, "resnet"),
    "haiku transformer": Entry("Haiku, transformer", *HAIKU, "transformer"),
}


def images() -> tuple[np.ndarray, np.ndarray]:
    """Noise with random labels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 32, 32, 3)).astype(np.float32)
    return x, rng.integers(0, CLASSES, 32).astype(np.int32)


def tokens() -> tuple[np.ndarray, np.ndarray]:
    """Vectors in place of embedded tokens, with a random label for each sequence."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*SEQUENCE, WIDTH)).astype(np.float32)
    return x, rng.integers(0, CLASSES, SEQUENCE[0]).astype(np.int32)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over the batch."""
    import optax

    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
