"""The handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels, no download."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES = 10


class Images(NamedTuple):
    """Images of shape (N, 8, 8, 1) with values in [0, 1], and their labels of shape (N,)."""

    pixels: np.ndarray
    labels: np.ndarray


def load() -> tuple[Images, Images]:
    """Returns 1,437 images to train on and 360 to test on.

    The split is the same whatever the seed of a run, so that the accuracies of two runs compare.
    """
    digits = load_digits()
    pixels = (digits.images[..., None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int32)
    train_pixels, test_pixels, train_labels, test_labels = train_test_split(
        pixels, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return Images(train_pixels, train_labels), Images(test_pixels, test_labels)


def batches(images: Images, size: int, generator: np.random.Generator) -> Iterator[Images]:
    """Yields one epoch of shuffled batches.

    The last images that do not fill a batch are left out: every batch has the same shape, so the
    training step is compiled once.
    """
    order = generator.permutation(len(images.labels))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        yield Images(images.pixels[chosen], images.labels[chosen])
